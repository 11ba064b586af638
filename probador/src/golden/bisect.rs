//! Finding where an error begins: the first tensor out of tolerance, and the part that is wrong by itself.
//!
//! A tensor out of tolerance may only inherit an error. So every part is run by itself on the input it ought to be
//! given: what is wrong then is wrong by itself. A part that is within tolerance, but further off than rounding
//! explains, is blamed when putting the truth in its output's place makes the tensor right.

use std::collections::BTreeMap;
use std::fmt;

use apr_generation::{Layered, LogitRows, Recorder, TensorKey, Trace};
use apr_tokenizer::TokenId;

use super::culprit::{Cause, Part, Stage, Suspect};
use super::set::GoldenError;
use super::truth::{Expected, Truth};
use super::verify::place_of;
use crate::compare::Difference;
use crate::reference::{Reference, Tensors};

/// How many times the noise a part may be off before it is suspect.
const SUSPECT: f64 = 4.0;

/// A tensor that is not what it ought to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its key.
    pub key: TensorKey,
    /// How far it is off.
    pub difference: Difference,
    /// The positions that were compared.
    pub positions: Vec<usize>,
}

/// What a whole pass showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Symptom {
    /// The first tensor out of tolerance, if any is.
    pub first: Option<Finding>,
    /// Tensors that were compared.
    pub n_tensors: usize,
    /// Their elements.
    pub n_values: usize,
}

/// A part that is wrong by itself, on the input it ought to be given.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Where it is.
    pub stage: Stage,
    /// Which part.
    pub part: Part,
    /// Parts beside it that are wrong as well and do not depend on it.
    pub beside: Vec<Part>,
    /// What showed it.
    pub finding: Finding,
    /// What is at fault.
    pub cause: Cause,
    /// Whether the first tensor out of tolerance is right once this part's stage is; `None` where it cannot be tried.
    pub accounts: Option<bool>,
}

/// Where the error begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Bisection {
    /// The first part that is wrong by itself; none when rounding adds up.
    pub origin: Option<Origin>,
    /// Others that are out of tolerance by themselves.
    pub others: Vec<Origin>,
    /// Stages that could not be run by themselves, for their input is not known.
    pub not_run: Vec<Stage>,
}

impl Finding {
    /// Whether it is out of tolerance, not merely suspect.
    pub fn is_out(&self) -> bool {
        !self.difference.passes()
    }

    /// Where the worst element stands, in words.
    pub fn worst_place(&self) -> Option<String> {
        place_of(self.key, &self.positions, &self.difference.worst.index)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.difference)?;
        self.worst_place().map_or(Ok(()), |place| write!(f, " ({place})"))
    }
}

/// Runs a whole pass and finds the first tensor out of tolerance.
pub fn first_out(model: &mut dyn Layered, truth: &Truth) -> Result<Symptom, GoldenError> {
    let whole = whole_pass(model, truth)?;
    let mut symptom = Symptom { first: None, n_tensors: 0, n_values: 0 };
    for (key, expected) in truth.tensors() {
        let difference = compared(truth, key, expected, &whole, truth.ids().len())?;
        let Some(difference) = difference else { continue };
        symptom.n_tensors += 1;
        symptom.n_values += difference.n;
        if !difference.passes() && symptom.first.is_none() {
            symptom.first = Some(Finding { key, difference, positions: expected.positions.clone() });
        }
    }
    Ok(symptom)
}

/// Finds what `symptom`, the first tensor out of tolerance, comes from. `own` is the reference over the model's own file.
pub fn trace_back(
    model: &mut dyn Layered,
    truth: &Truth,
    own: &Reference,
    symptom: &Finding,
) -> Result<Bisection, GoldenError> {
    let mut stages = vec![Stage::Embedding];
    stages.extend((0..model.n_layers()).map(Stage::Layer));
    stages.push(Stage::Head);
    let (mut suspects, mut not_run) = (Vec::new(), Vec::new());
    for stage in stages {
        match Run::of(model, truth, stage)? {
            Some(run) => suspects.extend(run.blame(truth, own)?),
            None => not_run.push(stage),
        }
    }
    let mut origin = None;
    for (at, suspect) in suspects.iter_mut().enumerate() {
        if suspect.stage > Stage::of(symptom.key) {
            break;
        }
        suspect.accounts = accounts(model, truth, suspect.stage, symptom)?;
        if suspect.finding.is_out() || suspect.accounts == Some(true) {
            origin = Some(at);
            break;
        }
    }
    let origin = origin.map(|at| suspects.remove(at));
    suspects.retain(|suspect| suspect.finding.is_out());
    Ok(Bisection { origin, others: suspects, not_run })
}

/// A stage that was run by itself on the input it ought to be given.
struct Run {
    stage: Stage,
    /// Positions it was given.
    n: usize,
    input: Vec<f64>,
    tensors: BTreeMap<TensorKey, Trace>,
}

impl Run {
    /// Runs `stage`; `None` when its input is not known.
    fn of(model: &mut dyn Layered, truth: &Truth, stage: Stage) -> Result<Option<Self>, GoldenError> {
        let layer = match stage {
            Stage::Embedding => {
                let tensors = whole_pass_of(model, truth, |key| key == TensorKey::Embedding)?;
                return Ok(Some(Self { stage, n: truth.ids().len(), input: Vec::new(), tensors }));
            }
            Stage::Layer(layer) => layer,
            Stage::Head => model.n_layers(),
        };
        let Some(input) = truth.input_of(layer) else { return Ok(None) };
        let n = input.len() / model.hidden_size();
        let mut recorder = Recorder::new(|key| truth.of_part(key).is_some());
        run_from(model, layer, stage, &mut input.to_vec(), &mut recorder).map_err(refused(truth))?;
        Ok(Some(Self { stage, n, input: input.to_vec(), tensors: recorder.into_tensors() }))
    }

    /// The first of its parts that is wrong, if one is.
    fn blame(&self, truth: &Truth, own: &Reference) -> Result<Option<Origin>, GoldenError> {
        let keys = self.stage.keys();
        let mut wrong = Vec::new();
        for &key in &keys {
            let Some(expected) = truth.of_part(key) else { continue };
            let Some(difference) = compared(truth, key, expected, &self.tensors, self.n)? else { continue };
            let is_suspect = expected.noise > 0.0 && difference.max_abs > SUSPECT * expected.noise;
            if !difference.passes() || is_suspect {
                let positions = expected.positions_below(self.n).to_vec();
                wrong.push(Finding { key, difference, positions });
            }
        }
        if wrong.is_empty() {
            return Ok(None);
        }
        let finding = wrong.remove(0);
        let key = finding.key;
        let own = self.by_reference(truth, own)?;
        let (mut part, mut cause) = (Part::Unknown, Cause::Arithmetic);
        if let (Some(expected), Some(found), Some(own)) =
            (truth.of_part(key), self.tensors.get(&key), own.get(&key.to_string()))
            && own.values.len() == found.values.len()
        {
            (part, cause) = Suspect { key, expected, found, own, n: self.n }.judge();
        }
        // What is not known before it could be wrong just as well.
        if keys.iter().take_while(|before| **before != key).any(|before| truth.of_part(*before).is_none()) {
            part = Part::Unknown;
        }
        let beside = wrong.iter().map(|finding| Part::behind(finding.key));
        let beside = beside.filter(|other| is_beside(part, *other)).collect();
        Ok(Some(Origin { stage: self.stage, part, beside, finding, cause, accounts: None }))
    }

    /// What the reference computes from the same input.
    fn by_reference(&self, truth: &Truth, own: &Reference) -> Result<Tensors, GoldenError> {
        Ok(match self.stage {
            Stage::Embedding => {
                [(TensorKey::Embedding.to_string(), own.embed(truth.ids())?)].into_iter().collect()
            }
            Stage::Layer(layer) => own.layer_on(layer, &self.input)?,
            Stage::Head => own.head_on(&self.input)?,
        })
    }
}

/// Whether `other` comes after `part` in the pass without depending on it.
fn is_beside(part: Part, other: Part) -> bool {
    matches!(
        (part, other),
        (Part::QProj, Part::KProj | Part::VProj)
            | (Part::KProj, Part::VProj)
            | (Part::GateProj, Part::UpProj)
    )
}

/// Whether the tensor of `symptom` is within tolerance when the stages after `stage` are given the truth.
fn accounts(
    model: &mut dyn Layered,
    truth: &Truth,
    stage: Stage,
    symptom: &Finding,
) -> Result<Option<bool>, GoldenError> {
    let last = Stage::of(symptom.key);
    if stage == last {
        return Ok(Some(true));
    }
    let first = match stage {
        Stage::Embedding => 0,
        Stage::Layer(layer) => layer + 1,
        Stage::Head => return Ok(None),
    };
    let input = truth.input_of(first);
    let (Some(input), Some(expected)) = (input, truth.of_part(symptom.key)) else { return Ok(None) };
    if input.len() != truth.ids().len() * model.hidden_size() {
        return Ok(None);
    }
    let mut recorder = Recorder::new(|key| key == symptom.key);
    run_from(model, first, last, &mut input.to_vec(), &mut recorder).map_err(refused(truth))?;
    let tensors = recorder.into_tensors();
    let difference = compared(truth, symptom.key, expected, &tensors, truth.ids().len())?;
    Ok(difference.map(|difference| difference.passes()))
}

/// Runs everything from layer `first` to the end of `last`.
fn run_from<F: Fn(TensorKey) -> bool>(
    model: &mut dyn Layered,
    first: usize,
    last: Stage,
    hidden: &mut [f64],
    recorder: &mut Recorder<F>,
) -> Result<(), apr_generation::ModelError> {
    match last {
        Stage::Embedding => {}
        Stage::Layer(layer) => model.run_layers(first..layer + 1, hidden, Some(recorder))?,
        Stage::Head => {
            model.run_layers(first..model.n_layers(), hidden, None)?;
            model.run_head(hidden, LogitRows::All, Some(recorder))?;
        }
    }
    Ok(())
}

fn whole_pass(model: &mut dyn Layered, truth: &Truth) -> Result<BTreeMap<TensorKey, Trace>, GoldenError> {
    whole_pass_of(model, truth, |key| truth.tensors().any(|(known, _)| known == key))
}

fn whole_pass_of(
    model: &mut dyn Layered,
    truth: &Truth,
    wanted: impl Fn(TensorKey) -> bool,
) -> Result<BTreeMap<TensorKey, Trace>, GoldenError> {
    let ids: Vec<TokenId> = truth.ids().iter().map(|&id| TokenId(id)).collect();
    let mut recorder = Recorder::new(wanted);
    model.reset();
    model.prefill(&ids, LogitRows::All, Some(&mut recorder)).map_err(refused(truth))?;
    model.reset();
    Ok(recorder.into_tensors())
}

/// How far the tensor `key` is from what it ought to be at the first `n` positions; `None` when nothing is known there.
fn compared(
    truth: &Truth,
    key: TensorKey,
    expected: &Expected,
    found: &BTreeMap<TensorKey, Trace>,
    n: usize,
) -> Result<Option<Difference>, GoldenError> {
    let missing = || GoldenError::Unknown(format!("the model shows no `{key}` for `{}`", truth.name()));
    let found = found.get(&key).ok_or_else(missing)?;
    expected
        .difference(key, &found.shape, &found.values, n)
        .map_err(|error| GoldenError::Unknown(format!("`{key}` of `{}`: {error}", truth.name())))
}

fn refused(truth: &Truth) -> impl Fn(apr_generation::ModelError) -> GoldenError {
    |source| GoldenError::Model { slug: truth.name().to_owned(), source }
}
