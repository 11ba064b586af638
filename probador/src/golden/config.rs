//! What was asked for: the `verification` section of `golden-trace.yaml`, which every manifest repeats.

use crate::compare::Tolerance;
use crate::yaml::{Fields, FromNode, Node, Problem, Problems, Value, parse};

/// The `verification` section, with the parts that verifying needs read, and the whole of it kept.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Texts that are recorded for every model.
    pub prompts: Vec<String>,
    /// Tolerances by checkpoint; the first that matches decides.
    pub checkpoints: Vec<Checkpoint>,
    /// How many times the tolerance PyTorch's float32 may be off at a stored position.
    pub max_noise_ratio: f64,
    /// How far the perplexity of a prompt may be from the reference's, as a share of it.
    pub perplexity_deviation: f64,
    /// How many of the likeliest ids are recorded.
    pub top_k: usize,
    /// The share of them that must be found again.
    pub top_k_threshold: f64,
    /// Slugs of the prompts that are recorded for one model, by its name.
    models: Vec<(String, Vec<String>)>,
    /// Every key, for telling whether it is still what is asked for.
    node: Node,
}

/// A kind of tensor and how closely it must be met.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// What people call it.
    pub layer: String,
    /// Patterns of checkpoint keys; `*` stands for a layer's number.
    pub keys: Vec<String>,
    /// The tolerance.
    pub tolerance: Tolerance,
}

impl PartialEq for Verification {
    /// Whether both ask for the same, wherever it is written.
    fn eq(&self, other: &Self) -> bool {
        says_the_same(&self.node, &other.node)
    }
}

impl Verification {
    /// Reads `golden-trace.yaml`; every problem at once.
    pub fn parse_config(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let node = parse(file, text).map_err(|problem| vec![problem])?;
        let mut problems = Problems::new(file);
        let read = Fields::new(&node, "a golden configuration", &mut problems).and_then(|mut fields| {
            let verification = fields.required("verification", &mut problems);
            fields.finish(&mut problems);
            verification
        });
        let problems = problems.into_vec();
        read.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// How closely the tensor `key` must be met.
    pub fn tolerance_of(&self, key: &str) -> Option<Tolerance> {
        let matching = |checkpoint: &&Checkpoint| checkpoint.keys.iter().any(|pattern| matches(pattern, key));
        self.checkpoints.iter().find(matching).map(|checkpoint| checkpoint.tolerance)
    }

    /// Slugs of the prompts that `model` must have, apart from the shared texts.
    pub fn slugs_of(&self, model: &str) -> Option<&[String]> {
        self.models.iter().find(|(name, _)| name == model).map(|(_, slugs)| slugs.as_slice())
    }
}

/// Whether `key` is `pattern` with a number for each `*`.
fn matches(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((before, after)) => key.strip_prefix(before).is_some_and(|rest| {
            let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            n_digits > 0 && matches(after, &rest[n_digits..])
        }),
    }
}

/// Whether two trees hold the same values under the same keys, in whatever order the keys stand.
fn says_the_same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Seq(a), Value::Seq(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| says_the_same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| {
                    b.iter().any(|(other, twin)| other.name == key.name && says_the_same(value, twin))
                })
        }
        (Value::Int(int), Value::Float(float)) | (Value::Float(float), Value::Int(int)) => {
            float.total_cmp(&(*int as f64)).is_eq()
        }
        (a, b) => a == b,
    }
}

impl FromNode for Verification {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a verification", problems)?;
        let prompts = fields.required("prompts", problems);
        let checkpoints: Option<Vec<Checkpoint>> = fields.required("checkpoints", problems);
        let conditioning: Option<Conditioning> = fields.required("conditioning", problems);
        let metrics: Option<Metrics> = fields.required("metrics", problems);
        let models = fields.node("models").and_then(|models| read_models(models, problems));
        if models.is_none() {
            problems.add(fields.at(), "a verification lacks `models`, or they are wrong");
        }
        fields.finish(problems);
        let metrics = metrics?;
        Some(Self {
            prompts: prompts?,
            checkpoints: checkpoints?,
            max_noise_ratio: conditioning?.max_noise_ratio,
            perplexity_deviation: metrics.perplexity_deviation,
            top_k: metrics.top_k,
            top_k_threshold: metrics.top_k_threshold,
            models: models?,
            node: node.clone(),
        })
    }
}

impl FromNode for Checkpoint {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a checkpoint", problems)?;
        let at = fields.at();
        let layer = fields.required("layer", problems);
        let keys = fields.required("keys", problems);
        let atol: Option<f64> = fields.required("tolerance", problems);
        let rtol: Option<f64> = fields.required("rtol", problems);
        fields.finish(problems);
        let tolerance =
            Tolerance::new(atol?, rtol?).map_err(|error| problems.add(at, error.to_string())).ok();
        Some(Self { layer: layer?, keys: keys?, tolerance: tolerance? })
    }
}

struct Conditioning {
    max_noise_ratio: f64,
}

impl FromNode for Conditioning {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a conditioning", problems)?;
        let max_noise_ratio: Option<f64> = fields.required("max_noise_ratio", problems);
        let at = fields.at();
        fields.finish(problems);
        let max_noise_ratio = max_noise_ratio?;
        if !(max_noise_ratio > 0.0 && max_noise_ratio.is_finite()) {
            problems.add(at, format!("max_noise_ratio is {max_noise_ratio}, it must be above 0"));
        }
        Some(Self { max_noise_ratio })
    }
}

struct Metrics {
    perplexity_deviation: f64,
    top_k: usize,
    top_k_threshold: f64,
}

impl FromNode for Metrics {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "metrics", problems)?;
        let perplexity: Option<PerplexityLimit> = fields.required("perplexity", problems);
        let top_k: Option<TopKLimit> = fields.required("top_k_accuracy", problems);
        fields.finish(problems);
        let top_k = top_k?;
        Some(Self { perplexity_deviation: perplexity?.0, top_k: top_k.k, top_k_threshold: top_k.threshold })
    }
}

/// A share, written `5%`.
struct PerplexityLimit(f64);

impl FromNode for PerplexityLimit {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a perplexity limit", problems)?;
        let text: Option<String> = fields.required("max_deviation", problems);
        let at = fields.at();
        fields.finish(problems);
        let text = text?;
        let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let share = percent.map(|percent| percent / 100.0).filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            problems.add(at, format!("max_deviation `{text}` is not a share such as `5%`"));
        }
        share.map(Self)
    }
}

struct TopKLimit {
    k: usize,
    threshold: f64,
}

impl FromNode for TopKLimit {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a top-k limit", problems)?;
        let k: Option<u32> = fields.required("k", problems);
        let threshold: Option<f64> = fields.required("threshold", problems);
        let at = fields.at();
        fields.finish(problems);
        let (k, threshold) = (k?, threshold?);
        if k == 0 || !(0.0..=1.0).contains(&threshold) {
            problems.add(
                at,
                format!("top_k_accuracy of k {k}, threshold {threshold} asks for nothing that can be"),
            );
        }
        Some(Self { k: k as usize, threshold })
    }
}

/// The slugs of each model's own prompts. What else stands there tells the script what to store, which shows in the
/// tensors' positions.
fn read_models(node: &Node, problems: &mut Problems) -> Option<Vec<(String, Vec<String>)>> {
    let Value::Map(models) = &node.value else {
        problems.add(node.at, format!("expected models by name, found {}", node.value.kind()));
        return None;
    };
    let mut read = Vec::new();
    for (name, model) in models {
        let mut fields = Fields::new(model, "a model's section", problems)?;
        let prompts: Option<Vec<AskedPrompt>> = fields.required("prompts", problems);
        let record = fields.node("record");
        if record.is_none() {
            problems.add(fields.at(), "a model's section lacks `record`");
        }
        fields.finish(problems);
        read.push((name.name.clone(), prompts?.into_iter().map(|prompt| prompt.slug).collect()));
    }
    Some(read)
}

struct AskedPrompt {
    slug: String,
}

impl FromNode for AskedPrompt {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a prompt that is asked for", problems)?;
        let _: Option<String> = fields.required("name", problems);
        let slug = fields.required("slug", problems);
        let _: Option<String> = fields.required("text", problems);
        let _: Option<bool> = fields.required("chat", problems);
        let _: Option<String> = fields.optional("system", String::new(), problems);
        fields.node("record");
        fields.finish(problems);
        Some(Self { slug: slug? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::CONFIG;
    use super::*;

    #[test]
    fn a_star_stands_for_a_number_and_nothing_else() {
        for (pattern, key, expected) in [
            ("model.layers.*", "model.layers.12", true),
            ("model.layers.*", "model.layers.12.self_attn.scores", false),
            ("model.layers.*.self_attn.scores", "model.layers.0.self_attn.scores", true),
            ("model.layers.*.mlp.up_proj", "model.layers.x.mlp.up_proj", false),
            ("logits", "logits", true),
            ("logits", "logits.0", false),
            ("model.layers.*", "model.layers.", false),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }
    #[test]
    fn the_same_is_asked_for_wherever_and_in_whatever_order_it_is_written() {
        let read = |text: &str| Verification::parse_config("c.yaml", text).unwrap();
        let check = |from: &str, to: &str, is_same: bool| {
            assert!(CONFIG.contains(from), "{from}");
            assert_eq!(read(CONFIG) == read(&CONFIG.replacen(from, to, 1)), is_same, "{to}");
        };
        check("{k: 2, threshold: 0.95}", "{threshold: 0.95, k: 2}", true);
        check("max_noise_ratio: 2.0", "max_noise_ratio: 2", true);
        check("rtol: 0.0}", "rtol: 0}", true);
        check("max_noise_ratio: 2.0", "max_noise_ratio: 3", false);
        check("threshold: 0.95", "threshold: 1", false);
        check("[\"1 2 3\"]", "[\"1 2 3\", \"4\"]", false);
        check("fake: {record: {positions: all}", "fake: {record: {positions: all, layers: [0]}", false);
        check("[logits]", "[logit]", false);
        // A number asked for as a whole one, and then as another.
        let whole = read(&CONFIG.replacen("max_noise_ratio: 2.0", "max_noise_ratio: 2", 1));
        assert!(whole == read(CONFIG), "whichever of the two is whole");
    }

    #[test]
    fn limits_that_nothing_can_keep_or_miss_are_refused() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(CONFIG.contains(from), "{from}");
            let problems = Verification::parse_config("c.yaml", &CONFIG.replacen(from, to, 1)).unwrap_err();
            let said: Vec<_> = problems.iter().map(|problem| problem.what.as_str()).collect();
            assert!(said.contains(&expected), "{expected:?} is not among {said:?}");
        };
        check("ratio: 2.0", "ratio: 0", "max_noise_ratio is 0, it must be above 0");
        check("ratio: 2.0", "ratio: -1.5", "max_noise_ratio is -1.5, it must be above 0");
        for share in ["5", "500%", "-1%", "five%"] {
            let said = format!("max_deviation `{share}` is not a share such as `5%`");
            check("max_deviation: 5%", &format!("max_deviation: \"{share}\""), &said);
        }
        let top_k = |k: &str, threshold: &str| {
            let said = format!("top_k_accuracy of k {k}, threshold {threshold} asks for nothing that can be");
            check("{k: 2, threshold: 0.95}", &format!("{{k: {k}, threshold: {threshold}}}"), &said);
        };
        top_k("0", "0.95");
        top_k("2", "1.5");
        top_k("2", "-0.5");
        check(
            "tolerance: 0.0",
            "tolerance: -1.0",
            "tolerance `atol -1, rtol 0` is not two finite numbers that are zero or more",
        );
    }

    #[test]
    fn every_model_says_what_is_recorded_of_it() {
        let check = |from: &str, to: &str, expected: &[&str]| {
            assert!(CONFIG.contains(from), "{from}");
            let problems = Verification::parse_config("c.yaml", &CONFIG.replacen(from, to, 1)).unwrap_err();
            let said: Vec<_> = problems.iter().map(|problem| problem.what.as_str()).collect();
            assert_eq!(said, expected);
        };
        let lacks = "a verification lacks `models`, or they are wrong";
        let models = "  models:\n    fake: {record: {positions: all}, prompts: []}\n";
        check(models, "", &[lacks]);
        check(models, "  models: [fake]\n", &["expected models by name, found a list", lacks]);
        check("record: {positions: all}, ", "", &["a model's section lacks `record`"]);
        let asked = Verification::parse_config(
            "c.yaml",
            &CONFIG.replacen("prompts: []}", "prompts: [{name: a, slug: b, text: c, chat: true}]}", 1),
        );
        let asked = asked.unwrap();
        assert_eq!(asked.slugs_of("fake").unwrap(), ["b"]);
        assert_eq!(asked.slugs_of("other"), None);
    }
}
