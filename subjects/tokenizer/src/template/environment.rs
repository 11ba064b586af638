//! The Jinja engine as chat templates expect it, under a budget.
//!
//! What transformers offers templates (`chat_template_utils.py`): trimmed blocks, loop controls, Python's string
//! methods, `tojson` without HTML escapes, `raise_exception` and `strftime_now`. The engine charges one fuel per
//! instruction and per 64 bytes it makes, before it makes them; methods and filters added here do the same, and what
//! the engine does not charge for goes through guards ([`super::rewrite`]). Filters and functions that chat templates
//! do not use and that would need guards of their own are not there.

use std::io;
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::guard;
use super::rewrite::{Guards, Rewritten, rewrite};
use super::{MAX_OUTPUT_BYTES, strftime};

/// Bytes that one fuel pays for.
const BYTES_PER_FUEL: usize = 64;
/// Levels of nesting, of which a macro's call takes several.
const MAX_RECURSION: usize = 200;

/// What a rendering may spend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    fuel: u64,
}

impl Budget {
    /// Enough for any published template: some 16 passes over the input and 500 steps a message, and a ground amount.
    pub(super) fn for_input(n_bytes: usize, n_messages: usize) -> Self {
        Self { fuel: (200_000 + n_bytes / 4 + 500 * n_messages) as u64 }
    }
}

/// Why a template called `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// Parses a template without running it.
pub(super) fn check_syntax(source: &str) -> Result<(), Error> {
    let Rewritten { source, guards } = rewrite(source, syntax()?, &mut str::to_owned)?;
    environment(&guards, SystemTime::UNIX_EPOCH).template_from_named_str("chat_template", &source)?;
    Ok(())
}

/// Renders `source` with the variables in `conversation`; `mark` is applied to every piece of text in `source` first.
pub(super) fn render(
    source: &str,
    mark: &mut dyn FnMut(&str) -> String,
    conversation: &Value,
    budget: Budget,
    now: SystemTime,
) -> Result<String, Error> {
    let Rewritten { source, guards } = rewrite(source, syntax()?, mark)?;
    let mut environment = environment(&guards, now);
    environment.set_fuel(Some(budget.fuel));
    environment.template_from_named_str("chat_template", &source)?.render(conversation)
}

/// Delimiters and trimming as transformers sets them; what is rewritten has no white space left to trim.
fn syntax() -> Result<SyntaxConfig, Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

/// Whether the budget, or the nesting allowed, ran out.
pub(super) fn is_out_of_budget(error: &Error) -> bool {
    causes(error).any(|cause| {
        cause.downcast_ref::<Error>().is_some_and(|error| {
            error.kind() == ErrorKind::OutOfFuel || error.detail() == Some("recursion limit exceeded")
        }) || cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::WriteZero)
    })
}

/// The reason that the template gave to `raise_exception`.
pub(super) fn raised(error: &Error) -> Option<&str> {
    causes(error).find_map(|cause| Some(cause.downcast_ref::<Raised>()?.0.as_str()))
}

fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn environment(guards: &Guards, now: SystemTime) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_unknown_method_callback(method);
    environment.add_function(guards.held.clone(), guard::held);
    environment.add_function(guards.compared.clone(), guard::compared);
    environment.add_function(guards.needle.clone(), guard::needle);
    environment.add_function(guards.indexed.clone(), guard::indexed);
    environment.add_function("namespace", guard::namespace);
    environment.add_function("dict", guard::dict);
    environment.remove_global("debug");
    for filter in ["batch", "chain", "groupby", "pprint", "slice", "sum", "zip"] {
        environment.remove_filter(filter);
    }
    environment.add_filter("format", format_printf);
    environment.add_filter("trim", trim);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(reason)))
    });
    environment.add_function("strftime_now", move |format: &str| {
        strftime::format(now, format).map_err(|error| Error::new(ErrorKind::InvalidOperation, error))
    });
    environment
}

/// What Python calls white space; Unicode's definition lacks the four separators U+001C to U+001F.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\x1C'..='\x1F').contains(&c)
}

fn trim(text: &str, chars: Option<&str>) -> String {
    match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)),
        None => text.trim_matches(is_python_space),
    }
    .to_owned()
}

/// `"%s and %d"|format(a, b)`, without `%c`: no character is made from a number.
fn format_printf(
    state: &mut State<'_, '_>,
    format: &Value,
    values: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let directives = format.as_str().unwrap_or_default().split('%').skip(1);
    if directives.filter_map(|directive| directive.chars().find(char::is_ascii_alphabetic)).any(|c| c == 'c')
    {
        return Err(Error::new(ErrorKind::InvalidOperation, "format: %c is not supported"));
    }
    minijinja::filters::format(state, format, values)
}

/// Methods of Python's types. Those of `pycompat` are paid for afterwards; the ones whose result can be much larger
/// than their input are paid for here first.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, name, args);
    };
    match (name, args) {
        ("strip", []) => return Ok(Value::from(text.trim_matches(is_python_space))),
        ("lstrip", []) => return Ok(Value::from(text.trim_start_matches(is_python_space))),
        ("rstrip", []) => return Ok(Value::from(text.trim_end_matches(is_python_space))),
        ("join", [items]) => return state.apply_filter("join", &[items.clone(), value.clone()]),
        ("replace", [old, new, ..]) => {
            if let (Some(old), Some(new)) = (old.as_str(), new.as_str()) {
                pay_for(state, text.matches(old).count().saturating_mul(new.len()))?;
            }
        }
        ("split" | "splitlines", _) => {
            let separator = args.first().and_then(Value::as_str).filter(|separator| !separator.is_empty());
            let n_parts = match separator {
                Some(separator) => text.matches(separator).count(),
                None => text.chars().filter(|c| is_python_space(*c)).count(),
            };
            pay_for(state, n_parts.saturating_mul(2 * size_of::<Value>()))?;
        }
        ("format", _) => check_format(state, text, args)?,
        _ => {}
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

fn pay_for(state: &State<'_, '_>, n_bytes: usize) -> Result<(), Error> {
    state.consume_fuel((n_bytes / BYTES_PER_FUEL) as u64)
}

/// Admits `{}`, `{0}` and `{name}` over strings and numbers: no widths, which ask for any amount of padding.
fn check_format(state: &State<'_, '_>, format: &str, args: &[Value]) -> Result<(), Error> {
    let refuse = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, format!("format: {what}")));
    let fields = format.split('{').skip(1).map(|after| after.split('}').next().unwrap_or_default());
    if fields.into_iter().any(|field| field.contains([':', '!', '['])) {
        return refuse("only plain replacement fields are supported");
    }
    let mut longest = 32;
    let mut admit = |value: &Value| match (value.as_str(), value.kind()) {
        (Some(text), _) => {
            longest = longest.max(text.len());
            Ok(())
        }
        (None, ValueKind::Number | ValueKind::Bool) => Ok(()),
        _ => refuse("only strings and numbers are supported"),
    };
    for arg in args {
        if arg.is_kwargs() {
            let named = Kwargs::try_from(arg.clone())?;
            named.args().try_for_each(|name| admit(&named.get::<Value>(name)?))?;
        } else {
            admit(arg)?;
        }
    }
    pay_for(state, format.matches('{').count().saturating_mul(longest))
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands keyword arguments over by value")]
fn to_json(state: &State<'_, '_>, value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = kwargs.get::<Option<usize>>("indent")?;
    kwargs.assert_all_used()?;
    let spaces = " ".repeat(indent.unwrap_or_default().min(16));
    let mut writer = Bounded { state, bytes: Vec::new() };
    let written = if indent.is_some() {
        let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut writer, formatter))
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut writer, PythonFormatter))
    };
    written.map_err(|error| {
        let kind = if error.is_io() { ErrorKind::OutOfFuel } else { ErrorKind::BadSerialization };
        Error::new(kind, error.to_string())
    })?;
    match String::from_utf8(writer.bytes) {
        Ok(json) => Ok(Value::from(json)),
        Err(error) => Err(Error::new(ErrorKind::BadSerialization, error.to_string())),
    }
}

/// Takes bytes as long as they can be paid for.
struct Bounded<'s, 't, 'e> {
    state: &'s State<'t, 'e>,
    bytes: Vec<u8>,
}

impl io::Write for Bounded<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_OUTPUT_BYTES || pay_for(self.state, BYTES_PER_FUEL).is_err() {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Python's separators: `, ` and `: `.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
