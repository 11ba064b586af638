//! Functions whose source is not in the tree: what is known of them by name, and what follows for what they return.

use std::rc::Rc;

use syn::spanned::Spanned;

use super::calls::Arguments;
use super::expressions::literal_of;
use super::interpreter::{Frame, Interpreter, Leaves};
use super::known;
use super::value::{Origins, Value};

impl<'t> Interpreter<'_, 't> {
    /// A call of a function whose source is not in the tree.
    pub(super) fn outside(
        &mut self,
        path: &[String],
        owner: &str,
        name: &str,
        arguments: &Arguments<'t>,
        ty: Option<&Rc<str>>,
        frame: &mut Frame<'t>,
    ) -> Value {
        let given = &arguments.joined;
        let function = arguments.function.clone().unwrap_or_default();
        let said = given.any(Origins::SAID) && !given.any(Origins::MODEL);
        if ["io", "", "tokio", "stdin", "stdout", "Stdin"].contains(&owner) {
            match name {
                "stdin" => {
                    self.has_read = true;
                    return Value::of(Origins::PROMPT);
                }
                "stdout" => return Value::of(Origins::STREAM),
                "stderr" => return Value::default(),
                _ => {}
            }
        }
        if ty.is_some()
            && ["parse", "try_parse", "parse_from", "try_parse_from", "from_args", "from_env"].contains(&name)
        {
            self.has_read = true;
            return Value::of(Origins::PROMPT | Origins::ARGUMENT | Origins::RAW);
        }
        let reads = match (owner, name) {
            ("env", "args" | "args_os") => {
                self.has_read = true;
                return Value::of(Origins::PROMPT | Origins::ARGUMENT);
            }
            ("fs", "read" | "read_to_string" | "read_dir")
            | ("File", "open")
            | (_, "map_copy")
            | ("Mmap" | "MmapOptions", _) => true,
            ("env", "var") if asks_for_prompt(arguments.expressions.first().copied()) => {
                self.has_read = true;
                return Value::of(Origins::PROMPT);
            }
            _ => false,
        };
        if reads {
            return read_from(given);
        }
        if is_route(name) {
            for expression in &arguments.expressions {
                if let syn::Expr::Closure(closure) = expression {
                    // A handler where it is handed over.
                    self.has_read = true;
                    let answer = self.closure(
                        closure,
                        &[Value::of(Origins::PROMPT | Origins::RAW | Origins::STREAM)],
                        None,
                        frame,
                    );
                    self.emit(&answer, closure.span(), Leaves::Answered, frame);
                }
            }
        }
        match name {
            "read_to_string" | "read_line" | "read_to_end" | "copy" => {
                self.spill(arguments, given, frame);
                return given.clone();
            }
            "sleep" | "spawn" | "spawn_blocking" | "block_on" | "run" if given.origins == Origins::NONE => {
                return function;
            }
            "spawn" | "spawn_blocking" | "block_on" | "from_fn" | "once_with" | "repeat_with" | "scope"
            | "new"
                if arguments.function.is_some() =>
            {
                return given.clone().or(&function);
            }
            "thread_rng" | "rng" | "random" | "now" | "new_v4" | "from_entropy" | "from_os_rng" | "usize"
            | "u32" | "u64" | "getrandom" => {
                return Value::of(Origins::CHANCE);
            }
            "choice" | "sample" | "choose" | "choose_multiple" if given.any(Origins::CANNED) => {
                return given
                    .clone()
                    .with(Origins::PICKED | (if said { Origins::CHOICE } else { Origins::NONE }));
            }
            "exit" => return Value::default(),
            "from_str" | "from_slice" | "from_reader" | "from_value" | "from_bytes"
                if given.any(Origins::SAID) =>
            {
                return given.clone().with(Origins::RAW);
            }
            _ => {}
        }
        if known::is_matcher(path) {
            return given.clone().or(&function).with(Origins::MATCHER);
        }
        self.spill(arguments, given, frame);
        if known::is_plain_constructor(path) {
            return given.clone().or(&function).with(frame.control & Origins::CHOICE);
        }
        if said {
            let mut value = given.clone().or(&function);
            if given.any(Origins::CANNED) {
                value.origins |= Origins::CHOICE;
            } else if known::runs_model(name) || given.any(Origins::STATE) {
                value.origins = value.origins.without(Origins::INSTEAD) | Origins::MODEL;
            }
            self.handed_out |= !given.any(Origins::CANNED);
            return value.with(Origins::OPAQUE);
        }
        given.clone().or(&function).without(Origins::LITERAL).with(Origins::OPAQUE)
    }
}

/// What is read from the file that `path` names: text of the user's own where the user named it, text that the prompt
/// chose where the name was made from the prompt.
fn read_from(path: &Value) -> Value {
    let file = Value { literal: path.literal, ..Value::of(Origins::FILE) };
    if path.any(Origins::MODEL) {
        file
    } else if path.any(Origins::CHOICE) || (path.any(Origins::SAID) && path.any(Origins::LITERAL)) {
        file.with(Origins::CHOICE)
    } else if path.any(Origins::SAID) {
        file.with(Origins::PROMPT)
    } else {
        file
    }
}

/// Whether a variable of the environment is named as a prompt.
fn asks_for_prompt(name: Option<&syn::Expr>) -> bool {
    let Some(syn::Lit::Str(text)) = name.and_then(literal_of) else { return false };
    let text = text.value().to_lowercase();
    ["prompt", "question", "query", "message"].iter().any(|word| text.contains(word))
}

/// Whether a function of this name is handed what answers requests.
fn is_route(name: &str) -> bool {
    [
        "get",
        "post",
        "put",
        "delete",
        "patch",
        "any",
        "on",
        "service_fn",
        "start_server",
        "serve",
        "listen",
        "handler_fn",
        "make_service_fn",
    ]
    .contains(&name)
}
