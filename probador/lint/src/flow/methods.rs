//! Methods whose source is not in the tree.

use std::rc::Rc;

use syn::spanned::Spanned;

use super::calls::{Arguments, CHANNEL, is_place};
use super::conditions::{How, compare, literal_test, number_test, phrase_test};
use super::expressions::literal_of;
use super::interpreter::{Frame, Interpreter, Leaves};
use super::known::{self, Method};
use super::value::{Origins, Value};

impl<'t> Interpreter<'_, 't> {
    /// A method whose source is not in the tree.
    pub(super) fn outside_method(
        &mut self,
        call: &'t syn::ExprMethodCall,
        kind: Method,
        name: &str,
        receiver: &Value,
        arguments: &Arguments<'t>,
        frame: &mut Frame<'t>,
    ) -> Value {
        let given = &arguments.joined;
        let function = arguments.function.clone();
        let of_function = function.clone().unwrap_or_default();
        let choice = |value: &Value| value.origins & Origins::CHOICE;
        match kind {
            Method::Compares(how) => {
                if let Some(function) = &function {
                    let mut asked = choice(function);
                    if function.any(Origins::SAID | Origins::CANNED)
                        && receiver.any(Origins::CANNED)
                        && function.any(Origins::SAID)
                    {
                        asked |= Origins::CHOICE;
                    }
                    return match name {
                        "find" | "filter" => receiver.clone().with(asked),
                        "find_map" => function.clone().with(asked | choice(receiver)),
                        _ => Value::of(asked | choice(receiver)),
                    };
                }
                let asked = Self::compared(receiver, arguments, how);
                match name {
                    "captures" | "captures_iter" | "find_iter" => {
                        receiver.clone().or(given).with(asked | Origins::PIECE)
                    }
                    "filter" | "intersection" => receiver.clone().with(asked),
                    _ => Value::of(asked),
                }
            }
            Method::LooksUp => {
                if receiver.any(Origins::ARGUMENT) {
                    return receiver.clone();
                }
                let mut key = given.clone();
                key.join(&of_function);
                let mut value = Self::element(receiver, &key);
                if key.any(Origins::PROMPT)
                    && !key.any(Origins::MODEL)
                    && receiver.any(Origins::CANNED | Origins::FILE | Origins::MATCHER)
                {
                    value.origins |= Origins::CHOICE;
                }
                if name == "entry" {
                    value.join(given);
                }
                value
            }
            Method::Strips => {
                let literal = arguments.expressions.first().and_then(|argument| literal_of(argument));
                match literal {
                    Some(syn::Lit::Char(sign)) if !sign.value().is_whitespace() && name == "strip_prefix" => {
                        receiver.clone().without(Origins::SAID)
                    }
                    Some(syn::Lit::Str(text)) if receiver.any(Origins::SAID) => {
                        let text = text.value();
                        let is_sign = text.starts_with(['/', ':', '-', '!']) && !text.trim().is_empty();
                        if is_sign && name == "strip_prefix" {
                            return receiver.clone().without(Origins::SAID);
                        }
                        receiver.clone().with(literal_test(&text, How::Edge))
                    }
                    _ => receiver.clone(),
                }
            }
            Method::Measures => match name {
                "len" | "count"
                    if receiver.any(Origins::SAID) && !receiver.any(Origins::MODEL | Origins::ARGUMENT) =>
                {
                    Value::of(Origins::LENGTH)
                }
                "is_some" | "is_none" | "is_ok" | "is_err" | "count" | "is_empty" => {
                    Value::of(choice(receiver))
                }
                "display" => receiver.clone(),
                _ => Value::default(),
            },
            Method::Classifies if receiver.any(Origins::SAID) && !receiver.any(Origins::MODEL) => {
                Value::of(Origins::CHOSEN)
            }
            Method::Classifies => Value::of(choice(receiver)),
            Method::Takes => {
                let mut value = receiver.clone();
                if value.any(Origins::PROMPT) {
                    value.origins = value.origins.without(Origins::PROMPT) | Origins::PIECE;
                }
                value
            }
            Method::Hashes => {
                let made = receiver.clone().or(given).without(Origins::STREAM);
                self.spill(arguments, &made, frame);
                if is_place(&call.receiver) && name != "hash" {
                    self.assign(&call.receiver, given, frame);
                }
                let mut made = made;
                if made.any(Origins::SAID) {
                    made.origins |= Origins::PROMPT;
                }
                made.without(Origins::ARGUMENT)
            }
            Method::Parses => receiver.clone().without(Origins::SAID | Origins::ARGUMENT | Origins::CANNED),
            Method::Draws => {
                let mut value = receiver.clone().or(given).with(if name.starts_with("fetch") {
                    Origins::VARIES
                } else {
                    Origins::CHANCE
                });
                if receiver.any(Origins::CANNED) {
                    value.origins |= Origins::PICKED;
                }
                value
            }
            Method::Cycles => receiver.clone().with(Origins::PICKED),
            Method::Writes => {
                if receiver.any(Origins::STREAM) {
                    self.emit(given, call.span(), Leaves::Printed, frame);
                } else {
                    self.assign(&call.receiver, given, frame);
                }
                Value::default()
            }
            Method::Sends => {
                self.learn(None, CHANNEL, given);
                self.emit(given, call.span(), Leaves::Printed, frame);
                Value::default()
            }
            Method::Adds => {
                let mut added = given.clone().with(frame.control & Origins::CHOICE);
                added.join(&of_function);
                // What is kept under a key a prompt gave is not yet chosen by it.
                self.assign(&call.receiver, &added.without(Origins::ARGUMENT), frame);
                receiver.clone().or(given)
            }
            Method::Encodes => {
                let mut value = given.clone();
                if !given.any(Origins::CANNED) {
                    value.origins |= receiver.origins & Origins::STATE;
                }
                value.ty = None;
                value
            }
            Method::Decodes => {
                if given.any(Origins::CANNED) && !given.any(Origins::MODEL) {
                    given.clone().with(Origins::LITERAL | Origins::PROSE)
                } else if given.any(Origins::MODEL) || receiver.any(Origins::STATE) {
                    given.clone().or(&receiver.clone().without(Origins::LITERAL))
                } else {
                    receiver.clone().or(given)
                }
            }
            Method::Accepts => {
                self.has_read = true;
                Value::of(Origins::PROMPT | Origins::STREAM)
            }
            Method::Explains => receiver.clone(),
            Method::Replaces => receiver.clone().or(given).or(&of_function),
            Method::Passes => self.passes(call, name, receiver, arguments, frame),
            Method::Unknown => self.unknown_method(call, name, receiver, arguments, frame),
        }
    }

    /// What comparing a receiver with arguments asks.
    fn compared(receiver: &Value, arguments: &Arguments<'t>, how: How) -> Origins {
        let given = &arguments.joined;
        if receiver.any(Origins::MODEL) || given.any(Origins::MODEL) {
            return match arguments.expressions.first().and_then(|argument| literal_of(argument)) {
                Some(syn::Lit::Str(text)) => phrase_test(receiver, &text.value(), how),
                _ => Origins::NONE,
            };
        }
        if receiver.any(Origins::MATCHER) && given.any(Origins::SAID) {
            return Origins::CHOICE;
        }
        let literal =
            |expression: Option<&&'t syn::Expr>| expression.and_then(|expression| literal_of(expression));
        match literal(arguments.expressions.first()) {
            Some(syn::Lit::Str(text)) if receiver.any(Origins::SAID) => {
                let asked = literal_test(&text.value(), how);
                let is_verb = receiver.any(Origins::ARGUMENT) && asked == Origins::CHOSEN;
                if is_verb { Origins::NONE } else { asked }
            }
            Some(syn::Lit::Int(number)) => {
                number.base10_parse().map_or(Origins::NONE, |number| number_test(receiver, number))
            }
            Some(_) => Origins::NONE,
            None => compare(receiver, given, how),
        }
    }

    /// Methods that keep what they are given.
    fn passes(
        &mut self,
        call: &'t syn::ExprMethodCall,
        name: &str,
        receiver: &Value,
        arguments: &Arguments<'t>,
        frame: &mut Frame<'t>,
    ) -> Value {
        let given = &arguments.joined;
        if name.starts_with("read") {
            if receiver.any(Origins::PROMPT) {
                self.has_read = true;
            }
            self.spill(arguments, receiver, frame);
            return if arguments.expressions.is_empty() { receiver.clone() } else { Value::default() };
        }
        if matches!(name, "recv" | "try_recv" | "blocking_recv") {
            let sent = self.fields.get(&(Rc::from(""), CHANNEL.to_owned())).cloned().unwrap_or_default();
            return receiver.clone().or(&sent);
        }
        let kept = receiver.origins & (Origins::CHOICE | Origins::PICKED);
        match (name, &arguments.function) {
            ("map" | "flat_map" | "filter_map" | "map_while" | "and_then" | "then" | "scan", Some(made)) => {
                made.clone().with(kept)
            }
            ("fold", Some(made)) => {
                let mut value = made.clone().or(given);
                if value.any(Origins::PIECE) {
                    value.origins |= Origins::PROMPT;
                }
                value
            }
            (
                "max_by" | "min_by" | "max_by_key" | "min_by_key" | "sort_by" | "sort_by_key" | "take_while"
                | "skip_while",
                Some(made),
            ) => {
                let mut value = receiver.clone().with(made.origins & Origins::CHOICE);
                if made.any(Origins::SAID | Origins::LENGTH)
                    && !made.any(Origins::MODEL)
                    && receiver.any(Origins::CANNED | Origins::FILE)
                {
                    value.origins |= Origins::CHOICE;
                }
                if name.starts_with("sort") {
                    self.assign(&call.receiver, &value, frame);
                }
                value
            }
            ("then_some" | "and", _) => given.clone().with(kept),
            ("sum" | "product", _) => {
                let mut value = receiver.clone();
                if value.any(Origins::PIECE) {
                    value.origins |= Origins::PROMPT;
                }
                value.ty = None;
                value
            }
            (
                "zip" | "chain" | "concat" | "join" | "replace" | "replacen" | "replace_all" | "wrapping_add"
                | "wrapping_mul" | "max" | "min",
                _,
            ) => {
                let mut value = receiver.clone().or(given);
                if matches!(name, "join" | "concat") {
                    value.origins = value.origins.without(Origins::ARGUMENT);
                }
                value
            }
            ("to_string", _) => self.shown(receiver, frame),
            ("collect" | "into" | "try_into", _) | ("for_each" | "inspect" | "retain", Some(_)) => {
                receiver.clone()
            }
            (_, Some(made)) => receiver.clone().or(made),
            _ => receiver.clone(),
        }
    }

    fn unknown_method(
        &mut self,
        call: &'t syn::ExprMethodCall,
        name: &str,
        receiver: &Value,
        arguments: &Arguments<'t>,
        frame: &mut Frame<'t>,
    ) -> Value {
        if matches!(name, "readline" | "interact" | "interact_text" | "prompt" | "readline_with_initial") {
            self.has_read = true;
            return Value::of(Origins::PROMPT);
        }
        let given = arguments.joined.clone().or(&arguments.function.clone().unwrap_or_default());
        let said = given.any(Origins::SAID) && !given.any(Origins::MODEL);
        self.handed_out |= (said || receiver.any(Origins::SAID)) && receiver.any(Origins::STATE);
        let mut value = receiver.clone().without(Origins::STREAM).or(&given);
        value.ty = None;
        if said && receiver.any(Origins::MATCHER) {
            value.origins |= Origins::CHOICE;
        } else if said
            && receiver.any(Origins::STATE)
            && (known::runs_model(name) || !given.any(Origins::CANNED))
        {
            value.origins = value.origins.without(Origins::CANNED | Origins::INSTEAD) | Origins::MODEL;
        } else if said
            && given.any(Origins::CANNED)
            && !receiver.any(Origins::PROMPT)
            && !given.any(Origins::STATE)
        {
            value.origins |= Origins::CHOICE;
        } else if !given.any(Origins::SAID) && known::runs_model(name) && receiver.any(Origins::STATE) {
            value.origins = value.origins.without(Origins::CANNED | Origins::INSTEAD) | Origins::MODEL;
        } else {
            // Builders and setters keep what they are given.
            if is_place(&call.receiver) && given.any(Origins::CANNED | Origins::MODEL | Origins::CHOICE) {
                self.assign(&call.receiver, &given.clone().without(Origins::ARGUMENT), frame);
            }
            value.origins = value.origins.without(Origins::NUMBERS);
        }
        self.spill(arguments, &value.clone(), frame);
        value
    }
}
