//! `apr chat`: a conversation with a model.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use apr_format::{AprFile, ModelConfig};
use apr_generation::{FinishReason, SamplingParams};
use apr_qwen2::{DEFAULT_CONTEXT, LoadOptions, Qwen2};
use clap::builder::RangedU64ValueParser;

use crate::chat::inspect::Inspection;
use crate::chat::repl::Repl;
use crate::chat::session::{DEFAULT_MAX_TOKENS, Session, piped_prompt};
use crate::chat::settings::{self, SamplingFlags};
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::{memory, model, text};

/// Larger than any context; a larger prompt is not read to its end.
const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// Talk with a model.
///
/// On a terminal, lines are edited with history, replies stream, and /help lists the commands inside the conversation.
/// With standard input from a pipe or a file, all of it is one prompt and the reply goes to standard output. Settings
/// without a flag are the ones that the model recommends.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr chat model.apr\n  \
                        echo 'What is 2+2?' | apr chat model.apr --temperature 0 --max-tokens 32\n  \
                        apr chat model.apr --inspect --layer 3 --head 0")]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,

    /// Most tokens of a reply [default: 512, or less where the context ends].
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    max_tokens: Option<usize>,

    /// How freely to choose tokens; 0 always takes the likeliest, as the repetition penalty leaves it [default: the
    /// model's, or 0.7].
    #[arg(long, value_name = "T", value_parser = temperature)]
    temperature: Option<f32>,

    /// Choose among the fewest likeliest tokens whose probabilities reach P [default: the model's, or 0.8].
    #[arg(long, value_name = "P", value_parser = top_p)]
    top_p: Option<f32>,

    /// Choose among the K likeliest tokens; 0 for all [default: the model's, or all].
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,

    /// Choose among tokens at least P times as likely as the likeliest [default: the model's, or 0].
    #[arg(long, value_name = "P", value_parser = min_p)]
    min_p: Option<f32>,

    /// Makes tokens that were used already less likely; 1 does nothing [default: the model's, or 1].
    #[arg(long, value_name = "R", value_parser = repetition_penalty)]
    repetition_penalty: Option<f32>,

    /// Seed of the choices: the same seed, model and conversation give the same reply [default: another each time].
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// System prompt, said before the conversation.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,

    /// Print a reply when it is complete instead of token by token.
    #[arg(long)]
    no_stream: bool,

    /// Tokens that a conversation may have in all [default: 4096, more where --max-tokens needs it].
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    context: Option<usize>,

    /// Threads to compute with [default: all processors].
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,

    /// Where the weights are while they are used.
    #[arg(long, value_name = "PLACE", value_enum, default_value_t = Load::Auto)]
    load: Load,

    /// Keep the weights in memory: no other program's need drives them out.
    #[arg(long)]
    mlock: bool,

    /// Show token ids, the candidates of every step, attention, speed, perplexity and memory.
    #[arg(long)]
    inspect: bool,

    /// Layer whose attention is shown, from 0 [default: the last].
    #[arg(long, value_name = "L", requires = "inspect")]
    layer: Option<usize>,

    /// Head whose attention is shown, from 0 [default: the mean of all].
    #[arg(long, value_name = "H", requires = "inspect")]
    head: Option<usize>,

    /// Candidates shown for every step [default: 5].
    #[arg(long, value_name = "K", requires = "inspect", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    top: Option<usize>,
}

/// Where the weights are while they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Load {
    /// In memory for a conversation, mapped for a single reply or where memory is short
    Auto,
    /// In the file, mapped: starts at once, shared between processes
    Mapped,
    /// Copied to memory, on huge pages where the system has them: takes a moment, then decodes faster
    Memory,
}

impl Load {
    /// The file with its weights where they are to be; a mapping that is copied ends here.
    pub(crate) fn place(self, file: AprFile, is_conversation: bool) -> Result<AprFile> {
        let copies = self.copies(is_conversation, file.file_size(), memory::available_bytes());
        if copies { Ok(file.to_memory()?) } else { Ok(file) }
    }

    /// Whether to copy weights of `n_bytes`, when `available` bytes of memory are free.
    fn copies(self, is_conversation: bool, n_bytes: u64, available: Option<u64>) -> bool {
        match self {
            Self::Mapped => false,
            Self::Memory => true,
            // Twice the size: the copy, and as much for everybody else.
            Self::Auto => is_conversation && available.is_some_and(|available| n_bytes <= available / 2),
        }
    }
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    model: PathBuf,
    sampling: SamplingFlags,
    max_tokens: Option<usize>,
    context: Option<usize>,
    threads: Option<usize>,
    load: Load,
    mlock: bool,
    system: Option<String>,
    stream: bool,
    inspect: bool,
    layer: Option<usize>,
    head: Option<usize>,
    n_candidates: usize,
}

pub(crate) fn plan(args: Args) -> Plan {
    Plan {
        model: args.model,
        sampling: SamplingFlags {
            temperature: args.temperature,
            top_p: args.top_p,
            top_k: args.top_k,
            min_p: args.min_p,
            repetition_penalty: args.repetition_penalty,
            seed: args.seed,
        },
        max_tokens: args.max_tokens,
        context: args.context,
        threads: args.threads,
        load: args.load,
        mlock: args.mlock,
        system: args.system,
        stream: !args.no_stream,
        inspect: args.inspect,
        layer: args.layer,
        head: args.head,
        n_candidates: args.top.unwrap_or(5),
    }
}

pub(crate) fn run(plan: Plan, printer: &mut Printer) -> Result<ExitStatus> {
    let is_interactive = io::stdin().is_terminal();
    let interrupt = Interrupt::on_ctrl_c()?;
    let file = model::open_verified(&plan.model)?;
    let config = &file.metadata().config;
    let context_length = context_length(&plan, config, memory::available_bytes())?;
    let tokenizer = model::tokenizer(&file)?;
    let template = model::chat_template(&file)?;
    let options = LoadOptions { context_length: Some(context_length), n_threads: plan.threads };
    let file = plan.load.place(file, is_interactive)?;
    if plan.mlock {
        file.lock_in_memory().context(
            "failed to keep the weights in memory\nhint: raise the limit (`ulimit -l`), or leave out --mlock",
        )?;
    }
    let model = Qwen2::load(&file, options)?;
    let config = model.config();
    let inspection =
        Inspection::new(plan.n_candidates, plan.layer, plan.head, config.num_layers, config.num_heads)?;
    let session = Session {
        end_of_text: settings::end_of_text(file.metadata(), &tokenizer),
        sampling: settings::sampling(&plan.sampling, &file, random_seed())?,
        model,
        tokenizer,
        template,
        name: name(&file),
        max_tokens: plan.max_tokens,
        stream: plan.stream,
        system: plan.system,
        messages: Vec::new(),
        cached: Vec::new(),
    };
    if is_interactive {
        greet(&file, &session, plan.inspect, printer);
        let repl = Repl { session, inspection, inspecting: plan.inspect, interrupt: &interrupt };
        repl.run(printer)?;
        return Ok(ExitStatus::Success);
    }
    answer(session, plan.inspect.then_some(inspection), &interrupt, printer)
}

/// One prompt from standard input, one reply to standard output.
fn answer(
    mut session: Session,
    inspection: Option<Inspection>,
    interrupt: &Interrupt,
    printer: &mut Printer,
) -> Result<ExitStatus> {
    let mut input = Vec::new();
    io::stdin()
        .take(MAX_PROMPT_BYTES + 1)
        .read_to_end(&mut input)
        .context("failed to read the prompt from standard input")?;
    ensure!(
        input.len() as u64 <= MAX_PROMPT_BYTES,
        "the prompt on standard input has more than {MAX_PROMPT_BYTES} bytes, which no context holds"
    );
    match session.say(piped_prompt(&input)?, inspection.as_ref(), interrupt, printer)? {
        FinishReason::Cancelled => Ok(ExitStatus::Interrupted),
        FinishReason::EndOfText | FinishReason::Stop | FinishReason::Length => Ok(ExitStatus::Success),
    }
}

/// Positions to make room for: what was asked for, or the usual number and what `--max-tokens` needs beyond it. More
/// than the usual number is refused when it takes more memory than there is: better now than in the middle of a reply.
fn context_length(plan: &Plan, config: &ModelConfig, available_bytes: Option<u64>) -> Result<usize> {
    let limit = config.max_position_embeddings;
    let wanted = plan.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let memory = |n_tokens: usize| {
        let per_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim * size_of::<f32>();
        (n_tokens as u64).saturating_mul(per_token as u64)
    };
    let context = plan.context.unwrap_or_else(|| {
        let room_for_prompts = DEFAULT_CONTEXT - DEFAULT_MAX_TOKENS;
        DEFAULT_CONTEXT.max(wanted.saturating_add(room_for_prompts)).min(limit)
    });
    ensure!(
        context <= limit,
        "the model was made for a context of at most {limit} tokens; one of {context} would take {} of memory and give \
         no sensible replies\nhint: ask for a smaller --context",
        text::bytes(memory(context))
    );
    if let Some(max_tokens) = plan.max_tokens.filter(|&max_tokens| max_tokens >= context) {
        let or_more =
            if context < limit { format!(", or for a --context of up to {limit}") } else { String::new() };
        bail!(
            "--max-tokens {max_tokens} and a prompt do not fit the context of {context} tokens; a context that long \
             would take {} of memory\nhint: ask for at most {} tokens{or_more}",
            text::bytes(memory(max_tokens.saturating_add(1))),
            context - 1
        );
    }
    if let Some(available) =
        available_bytes.filter(|&available| context > DEFAULT_CONTEXT && memory(context) > available)
    {
        bail!(
            "a context of {context} tokens takes {} of memory, and {} are available\n\
             hint: ask for a smaller --context, or for less than --max-tokens {wanted}",
            text::bytes(memory(context)),
            text::bytes(available)
        );
    }
    Ok(context)
}

fn greet(file: &AprFile, session: &Session, inspect: bool, printer: &mut Printer) {
    let mode = if inspect { " (Inspection Mode)" } else { "" };
    let root = file.root_hash();
    printer.talk(format_args!("=== {} Chat{mode} ===", text::printable(&session.name)));
    printer.talk(format_args!(
        "Model: {} ({}, {})",
        text::printable(&file.path().to_string_lossy()),
        text::bytes(file.file_size()),
        super::inspect::dtypes(file)
    ));
    printer.talk(format_args!("Validation: PASSED (root {}...)", root.get(..16).unwrap_or(root)));
    if session.end_of_text.is_empty() {
        printer.warn("the model names no end-of-text token; only --max-tokens and Ctrl-C end a reply");
    }
}

/// What to call the model.
fn name(file: &AprFile) -> String {
    file.metadata()
        .name
        .clone()
        .unwrap_or_else(|| file.path().file_stem().unwrap_or_default().to_string_lossy().into_owned())
}

/// A seed that differs from run to run.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

fn temperature(text: &str) -> Result<f32, String> {
    checked(text, |temperature| SamplingParams { temperature, ..SamplingParams::greedy() })
}

fn top_p(text: &str) -> Result<f32, String> {
    checked(text, |top_p| SamplingParams { top_p, ..SamplingParams::greedy() })
}

fn min_p(text: &str) -> Result<f32, String> {
    checked(text, |min_p| SamplingParams { min_p, ..SamplingParams::greedy() })
}

fn repetition_penalty(text: &str) -> Result<f32, String> {
    checked(text, |repetition_penalty| SamplingParams { repetition_penalty, ..SamplingParams::greedy() })
}

/// A number that is in the range of the setting it is for.
fn checked(text: &str, params: impl FnOnce(f32) -> SamplingParams) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    params(value).check().map_err(|error| error.to_string())?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(limit: usize) -> ModelConfig {
        ModelConfig {
            num_layers: 24,
            num_kv_heads: 2,
            head_dim: 64,
            max_position_embeddings: limit,
            ..ModelConfig::default()
        }
    }

    fn plan_with(max_tokens: Option<usize>, context: Option<usize>) -> Plan {
        Plan {
            model: "m.apr".into(),
            sampling: SamplingFlags::default(),
            max_tokens,
            context,
            threads: None,
            load: Load::Auto,
            mlock: false,
            system: None,
            stream: true,
            inspect: false,
            layer: None,
            head: None,
            n_candidates: 5,
        }
    }

    #[test]
    fn weights_are_copied_for_a_conversation_that_has_room_for_them() {
        let copies = |load: Load, is_conversation, available| load.copies(is_conversation, 1000, available);
        assert!(copies(Load::Auto, true, Some(2000)) && !copies(Load::Auto, true, Some(1999)));
        assert!(!copies(Load::Auto, false, Some(2000)) && !copies(Load::Auto, true, None));
        assert!(copies(Load::Memory, false, None) && !copies(Load::Mapped, true, Some(2000)));
    }

    #[test]
    fn context_grows_with_the_reply_up_to_the_models_limit() {
        let context = |max_tokens, context| {
            context_length(&plan_with(max_tokens, context), &config(32_768), None).unwrap()
        };
        assert_eq!(context(None, None), 4096);
        assert_eq!(context(Some(32), None), 4096);
        assert_eq!(context(Some(8000), None), 8000 + 3584);
        assert_eq!(context(Some(32_000), None), 32_768);
        assert_eq!(context(Some(100), Some(200)), 200);
        assert_eq!(context_length(&plan_with(None, None), &config(512), None).unwrap(), 512);
        let error = context_length(&plan_with(None, Some(513)), &config(512), None).unwrap_err().to_string();
        assert!(
            error.starts_with("the model was made for a context of at most 512 tokens; one of 513"),
            "{error}"
        );
    }

    #[test]
    fn reply_longer_than_the_context_is_refused_with_the_memory_it_would_need() {
        let error =
            context_length(&plan_with(Some(100_000), None), &config(32_768), None).unwrap_err().to_string();
        assert_eq!(
            error,
            "--max-tokens 100000 and a prompt do not fit the context of 32768 tokens; a context that long would take \
             2.46 GB of memory\nhint: ask for at most 32767 tokens"
        );
        let error =
            context_length(&plan_with(Some(100), Some(100)), &config(32_768), None).unwrap_err().to_string();
        assert!(
            error.ends_with("hint: ask for at most 99 tokens, or for a --context of up to 32768"),
            "{error}"
        );
    }

    #[test]
    fn context_that_takes_more_memory_than_there_is_is_refused() {
        // 24,576 bytes a token.
        let megabytes = |n: u64| Some(n * 1_000_000);
        let error =
            context_length(&plan_with(None, Some(20_000)), &config(32_768), megabytes(400)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("a context of 20000 tokens takes 492 MB of memory, and 400 MB are available"),
            "{error}"
        );
        assert_eq!(
            context_length(&plan_with(None, Some(20_000)), &config(32_768), megabytes(500)).unwrap(),
            20_000
        );
        assert_eq!(context_length(&plan_with(None, None), &config(32_768), megabytes(1)).unwrap(), 4096);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for text in ["-1", "NaN", "inf", "hot", ""] {
            assert!(temperature(text).is_err(), "{text}");
        }
        assert!(top_p("0").is_err() && top_p("1.1").is_err() && top_p("1").is_ok());
        assert!(min_p("-0.1").is_err() && min_p("0").is_ok());
        assert!(repetition_penalty("0").is_err() && repetition_penalty("1.1").is_ok());
        assert_eq!(temperature("0"), Ok(0.0));
    }

    #[test]
    fn seeds_differ_from_run_to_run() {
        assert_ne!(random_seed(), random_seed());
    }
}
