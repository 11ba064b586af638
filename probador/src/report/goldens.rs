//! Golden tensors as a reader of the report sees them: by layer, as a picture and as a table.

use std::collections::BTreeMap;

use apr_generation::TensorKey;

use super::plot::{Mark, Plot, svg};
use crate::case::{Figure, Outcome, Subject, Verdict};

/// Every compared tensor of one stage of the model.
pub(super) struct Stage {
    /// `embedding`, a layer's number, `norm` or `logits`.
    pub(super) name: String,
    /// Tensors that were compared.
    pub(super) n: usize,
    /// Those out of tolerance.
    pub(super) n_out: usize,
    /// The largest share of a tolerance that one takes.
    pub(super) largest: String,
    /// Which one takes it.
    pub(super) tensor: String,
}

/// The picture of `outcomes` by stage, and the same as rows of a table; `None` when nothing was compared.
pub(super) fn by_stage(outcomes: &[Outcome]) -> Option<(String, Vec<Stage>)> {
    let mut stages: BTreeMap<TensorStage, Vec<(Option<f64>, &Outcome)>> = BTreeMap::new();
    for outcome in outcomes {
        let Subject::Golden { tensor, .. } = &outcome.subject else { continue };
        let Ok(key) = tensor.parse::<TensorKey>() else { continue };
        if matches!(outcome.verdict, Verdict::Undecided(_)) && outcome.known_before {
            continue;
        }
        stages.entry(TensorStage::of(key)).or_default().push((share(outcome), outcome));
    }
    if stages.is_empty() {
        return None;
    }
    let names: Vec<String> = stages.keys().map(TensorStage::name).collect();
    let marks: Vec<Mark> = stages
        .values()
        .enumerate()
        .flat_map(|(stage, found)| found.iter().map(move |(share, _)| Mark { stage, share: *share }))
        .collect();
    let title =
        "Share of the tolerance that each golden tensor takes, by layer; the same is in the table below";
    let picture = svg(&Plot { title, stages: &names, marks: &marks });
    let rows = names.into_iter().zip(stages.into_values()).map(|(name, found)| row(name, &found)).collect();
    Some((picture, rows))
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TensorStage {
    Embedding,
    Layer(usize),
    Norm,
    Logits,
}

impl TensorStage {
    fn of(key: TensorKey) -> Self {
        match key {
            TensorKey::Embedding => Self::Embedding,
            TensorKey::Layer(layer, _) => Self::Layer(layer),
            TensorKey::Norm => Self::Norm,
            TensorKey::Logits => Self::Logits,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Embedding => "embedding".to_owned(),
            Self::Layer(layer) => layer.to_string(),
            Self::Norm => "norm".to_owned(),
            Self::Logits => "logits".to_owned(),
        }
    }
}

/// How much of its tolerance a tensor takes; `None` when it is out of it, or was not compared.
fn share(outcome: &Outcome) -> Option<f64> {
    let measured = outcome.evidence.measurements.first().filter(|_| outcome.verdict == Verdict::Pass)?;
    // A tensor that must be exact, and is.
    Some(if measured.value == 0.0 { 0.0 } else { measured.value / measured.limit })
}

fn row(name: String, found: &[(Option<f64>, &Outcome)]) -> Stage {
    let size = |share: Option<f64>| share.unwrap_or(f64::INFINITY);
    let worst = found.iter().max_by(|a, b| size(a.0).total_cmp(&size(b.0)));
    Stage {
        name,
        n: found.len(),
        n_out: found.iter().filter(|(share, _)| share.is_none()).count(),
        largest: match worst.map(|worst| worst.0) {
            Some(Some(share)) => format!("{} %", Figure(share * 100.0)),
            _ => "out of tolerance".to_owned(),
        },
        tensor: worst.map(|(_, outcome)| outcome.case.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn stages_are_in_the_models_order_and_the_worst_tensor_of_each_is_named() {
        let (picture, rows) = by_stage(&sample::eventful().goldens).unwrap();
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["embedding", "0", "1", "logits"]);
        assert_eq!((rows[0].largest.as_str(), rows[1].largest.as_str()), ("0 %", "20 %"));
        assert_eq!(rows[1].tensor, "golden::tiny::a_prompt::model.layers.0");
        assert_eq!((rows[2].n_out, rows[2].largest.as_str()), (1, "out of tolerance"));
        assert_eq!(picture.matches("class=\"beyond\"").count(), 1);
        assert!(by_stage(&[]).is_none());
    }
    #[test]
    fn only_tensors_that_were_compared_are_in_the_picture() {
        let like = |tensor: &str, verdict: Verdict, known_before: bool| {
            let mut outcome = sample::eventful().goldens[1].clone();
            let Subject::Golden { tensor: found, .. } = &mut outcome.subject else { unreachable!() };
            tensor.clone_into(found);
            Outcome { verdict, known_before, ..outcome }
        };
        let of_nothing = [
            sample::playbook("a", Verdict::Pass),
            like("model.no_such", Verdict::Pass, false),
            like("logits", sample::out_of_time(), true),
        ];
        assert!(by_stage(&of_nothing).is_none());
        let compared =
            [like("model.norm", Verdict::Pass, false), like("logits", sample::out_of_time(), false)];
        let (picture, rows) = by_stage(&[&of_nothing[..], &compared].concat()).unwrap();
        let rows: Vec<_> =
            rows.iter().map(|row| (row.name.as_str(), row.n, row.n_out, row.largest.as_str())).collect();
        // What was not compared though it could have been is not within anything.
        assert_eq!(rows, [("norm", 1, 0, "1 %"), ("logits", 1, 1, "out of tolerance")]);
        assert_eq!(picture.matches("class=\"within\"").count(), 1);
    }
}
