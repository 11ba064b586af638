//! Calls: into the tree by running what is called, out of it by the kind of work that is done there.

use std::rc::Rc;

use syn::spanned::Spanned;

use super::conditions::{How, compare, literal_test, number_test};
use super::interpreter::{Frame, Interpreter, Leaves, literal_of};
use super::known::{self, Method};
use super::value::{Origins, Value};

/// Implementations that a method call is run with at most.
const MAX_CALLEES: usize = 16;
/// Where channels keep what is sent through them.
const CHANNEL: &str = "<channel>";

/// The arguments of a call.
struct Arguments<'t> {
    values: Vec<Value>,
    /// All that are no functions, joined.
    joined: Value,
    /// What the functions among them return, if there is one.
    function: Option<Value>,
    expressions: Vec<&'t syn::Expr>,
}

impl<'t> Interpreter<'_, 't> {
    /// Evaluates arguments; functions among them are run with `elements`, lent by `lender`.
    fn arguments(
        &mut self,
        expressions: impl Iterator<Item = &'t syn::Expr>,
        elements: &Value,
        lender: Option<&'t syn::Expr>,
        frame: &mut Frame<'t>,
    ) -> Arguments<'t> {
        let mut arguments = Arguments {
            values: Vec::new(),
            joined: Value::default(),
            function: None,
            expressions: Vec::new(),
        };
        let mut closures = Vec::new();
        for expression in expressions {
            let is_function = match expression {
                syn::Expr::Closure(_) => true,
                syn::Expr::Path(path) => {
                    path.path.get_ident().is_none_or(|name| !frame.locals.contains_key(&name.to_string()))
                        && !self.functions_named(path, frame).is_empty()
                        || path
                            .path
                            .get_ident()
                            .is_some_and(|name| frame.closures.contains_key(&name.to_string()))
                }
                _ => false,
            };
            if is_function {
                closures.push((arguments.values.len(), expression));
                arguments.values.push(Value::default());
            } else {
                let value = self.expression(expression, frame);
                let value = self.under_control(value, frame);
                arguments.joined.join(&value);
                arguments.values.push(value);
            }
            arguments.expressions.push(expression);
        }
        for (index, expression) in closures {
            // Twice: what a closure adds up is in its own hands the second time.
            let mut elements = elements.clone();
            if arguments.expressions.len() > 1 {
                elements.join(&arguments.joined);
            }
            self.apply(expression, &elements, lender, frame);
            let value = self.apply(expression, &elements, lender, frame);
            let says = match expression {
                syn::Expr::Closure(closure) => self.says_what_it_is_given(closure, frame),
                _ => false,
            };
            arguments.values[index] =
                if says { value.clone().with(Origins::CALLBACK) } else { value.clone() };
            arguments.function.get_or_insert_with(Value::default).join(&value);
        }
        arguments
    }

    /// Runs a closure, or a function that is named, with the same value for every parameter.
    fn apply(
        &mut self,
        function: &'t syn::Expr,
        value: &Value,
        lender: Option<&'t syn::Expr>,
        frame: &mut Frame<'t>,
    ) -> Value {
        match function {
            syn::Expr::Closure(closure) => self.closure(closure, std::slice::from_ref(value), lender, frame),
            syn::Expr::Path(path) => {
                let closure =
                    path.path.get_ident().and_then(|name| frame.closures.get(&name.to_string()).copied());
                if let Some(closure) = closure {
                    return self.closure(closure, std::slice::from_ref(value), lender, frame);
                }
                let mut returned = Value::default();
                for index in self.functions_named(path, frame) {
                    let n = self.program.graph.functions[index].signature.inputs.len();
                    returned.join(&self.call(index, vec![value.clone(); n], frame.control).returned);
                }
                returned
            }
            _ => Value::default(),
        }
    }

    /// Runs each of `callees` and gives back to the arguments what was done to them.
    fn run_callees(
        &mut self,
        callees: &[usize],
        values: &[Value],
        places: &[&'t syn::Expr],
        frame: &mut Frame<'t>,
    ) -> Value {
        let mut returned = Value::default();
        for &callee in callees.iter().take(MAX_CALLEES) {
            let outcome = self.call(callee, values.to_vec(), frame.control);
            returned.join(&outcome.returned);
            let inputs = &self.program.graph.functions[callee].signature.inputs;
            for ((place, after), input) in places.iter().zip(&outcome.arguments).zip(inputs) {
                let is_changed = match input {
                    syn::FnArg::Receiver(receiver) => receiver.mutability.is_some(),
                    syn::FnArg::Typed(typed) => {
                        matches!(&*typed.ty, syn::Type::Reference(of) if of.mutability.is_some())
                    }
                };
                if is_changed && is_place(place) {
                    self.assign(place, after, frame);
                }
            }
        }
        returned
    }

    pub(super) fn function_call(&mut self, call: &'t syn::ExprCall, frame: &mut Frame<'t>) -> Value {
        let syn::Expr::Path(path) = &*call.func else {
            // A function out of a field or a table.
            let callee = self.expression(&call.func, frame);
            let arguments = self.arguments(call.args.iter(), &Value::default(), None, frame);
            return self.through_value(&callee, &arguments, call.span(), frame);
        };
        let segments: Vec<String> = match self.program.path_at(frame.function, last_span(&path.path)) {
            Some(followed) => followed.to_vec(),
            None => path.path.segments.iter().map(|segment| segment.ident.to_string()).collect(),
        };
        let name = segments.last().cloned().unwrap_or_default();
        if let Some(word) = path.path.get_ident().map(ToString::to_string) {
            if let Some(closure) = frame.closures.get(&word).copied() {
                let values: Vec<Value> =
                    call.args.iter().map(|argument| self.expression(argument, frame)).collect();
                return self.closure(closure, &values, None, frame);
            }
            if let Some(functions) = frame.named_functions.get(&word).cloned() {
                let arguments = self.arguments(call.args.iter(), &Value::default(), None, frame);
                return self.run_callees(&functions, &arguments.values, &arguments.expressions, frame);
            }
            if let Some(callee) = frame.locals.get(&word).cloned() {
                let arguments = self.arguments(call.args.iter(), &Value::default(), None, frame);
                return self.through_value(&callee, &arguments, call.span(), frame);
            }
        }
        if name == "Err" {
            // Why something failed is no reply.
            self.arguments(call.args.iter(), &Value::default(), None, frame);
            return Value::default();
        }
        let callees = self.functions_named(path, frame);
        let arguments = self.arguments(call.args.iter(), &Value::default(), None, frame);
        if !callees.is_empty() {
            return self.run_callees(&callees, &arguments.values, &arguments.expressions, frame);
        }
        let owner = segments.len().checked_sub(2).map(|at| segments[at].clone()).unwrap_or_default();
        let owner =
            if owner == "Self" { frame.self_type.as_deref().unwrap_or("Self").to_owned() } else { owner };
        let ty: Option<Rc<str>> = [&owner, &name]
            .into_iter()
            .find(|name| self.program.type_info(name).is_some())
            .map(|name| name.as_str().into());
        let value = self.outside(&segments, &owner, &name, &arguments, ty.as_ref(), frame);
        value.typed(ty)
    }

    /// A call through a value that holds a function.
    fn through_value(
        &mut self,
        callee: &Value,
        arguments: &Arguments<'t>,
        span: proc_macro2::Span,
        frame: &Frame<'t>,
    ) -> Value {
        let given = arguments.joined.clone();
        if callee.any(Origins::CALLBACK) {
            self.emit(&given, span, Leaves::Printed, frame);
        }
        let mut value = callee.clone().without(Origins::CALLBACK).or(&given);
        if given.any(Origins::SAID) && !given.any(Origins::MODEL) && callee.any(Origins::CANNED) {
            value.origins |= Origins::CHOICE;
        }
        if given.any(Origins::SAID) && callee.any(Origins::OPAQUE) && !callee.any(Origins::CANNED) {
            value.origins |= Origins::MODEL;
        }
        value
    }

    /// A call of a function whose source is not in the tree.
    fn outside(
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
        if owner == "io"
            || owner.is_empty()
            || owner == "tokio"
            || owner == "stdin"
            || owner == "stdout"
            || owner == "Stdin"
        {
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
            ("fs", "read" | "read_to_string" | "read_dir") | ("File", "open") | (_, "map_copy") => true,
            ("Mmap" | "MmapOptions", _) => true,
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

    /// Gives every argument that may be changed what the call had in hand.
    fn spill(&mut self, arguments: &Arguments<'t>, given: &Value, frame: &mut Frame<'t>) {
        for expression in &arguments.expressions {
            if let syn::Expr::Reference(reference) = expression
                && reference.mutability.is_some()
            {
                self.assign(&reference.expr, &given.clone().without(Origins::STREAM), frame);
            }
        }
    }

    pub(super) fn method_call(&mut self, call: &'t syn::ExprMethodCall, frame: &mut Frame<'t>) -> Value {
        let receiver = self.expression(&call.receiver, frame);
        let name = call.method.to_string();
        let kind = known::method(&name);
        // What a closure on a chosen option makes is chosen too.
        let outer = frame.control;
        if !receiver.any(Origins::MODEL) {
            frame.control |= receiver.origins & Origins::CHOICE;
        }
        let elements = receiver.clone().without(Origins::STREAM);
        let arguments = self.arguments(call.args.iter(), &elements, Some(&call.receiver), frame);
        frame.control = outer;

        let of_type = receiver.ty.as_deref().map(|ty| self.program.methods_of(ty, &name)).unwrap_or_default();
        let of_name = || -> Vec<usize> {
            let called = self.program.methods_called(&name);
            let fits = |&&index: &&usize| {
                let signature = &self.program.graph.functions[index].signature;
                signature.receiver().is_some() && signature.inputs.len() == call.args.len() + 1
            };
            if called.len() > MAX_CALLEES {
                Vec::new()
            } else {
                called.iter().filter(fits).copied().collect()
            }
        };
        let callees = if !of_type.is_empty() {
            of_type
        } else if kind == Method::Unknown {
            of_name()
        } else {
            Vec::new()
        };
        if !callees.is_empty() {
            let mut values = vec![receiver.clone()];
            values.extend(arguments.values.iter().cloned());
            let mut places: Vec<&syn::Expr> = vec![&call.receiver];
            places.extend(&arguments.expressions);
            return self.run_callees(&callees, &values, &places, frame);
        }
        self.outside_method(call, kind, &name, &receiver, &arguments, frame)
    }

    /// A method whose source is not in the tree.
    fn outside_method(
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
                let asked = self.compared(receiver, arguments, how);
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
    fn compared(&self, receiver: &Value, arguments: &Arguments<'t>, how: How) -> Origins {
        let given = &arguments.joined;
        if receiver.any(Origins::MODEL) || given.any(Origins::MODEL) {
            return Origins::NONE;
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
            ("for_each" | "inspect" | "retain", Some(_)) => receiver.clone(),
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
            ("collect" | "into" | "try_into", _) => receiver.clone(),
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

    /// A value as its `Display` shows it.
    pub(super) fn shown(&mut self, value: &Value, frame: &mut Frame<'t>) -> Value {
        let Some(ty) = value.ty.clone() else { return value.clone() };
        let mut shown = value.clone();
        for callee in self.program.methods_of(&ty, "fmt") {
            let control = frame.control | (value.origins & Origins::CHOICE);
            let outcome = self.call(callee, vec![value.clone(), Value::of(Origins::FORMATTER)], control);
            if let Some(written) = outcome.arguments.get(1) {
                shown.join(&written.clone().without(Origins::FORMATTER));
            }
        }
        shown.ty = None;
        shown
    }

    pub(super) fn macro_call(&mut self, mac: &'t syn::Macro, frame: &mut Frame<'t>) -> Value {
        let name = mac.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let inner = self.program.macro_at(frame.file, mac.path.span());
        match name.as_str() {
            "print" | "println" => {
                let value = self.formatted(inner, frame);
                self.emit(&value, mac.path.span(), Leaves::Printed, frame);
                Value::default()
            }
            "write" | "writeln" => {
                let Some((target, rest)) = inner.split_first() else { return Value::default() };
                let into = self.expression(target, frame);
                let value = self.formatted(rest, frame);
                if into.any(Origins::STREAM) {
                    self.emit(&value, mac.path.span(), Leaves::Printed, frame);
                } else {
                    let value = self.under_control(value, frame);
                    self.assign(target, &value, frame);
                }
                Value::default()
            }
            "eprint" | "eprintln" | "dbg" | "trace" | "debug" | "info" | "warn" | "error" | "log"
            | "event" | "span" | "anyhow" | "format_err" | "panic" | "unreachable" | "todo"
            | "unimplemented" | "assert" | "assert_eq" | "assert_ne" | "debug_assert" | "debug_assert_eq"
            | "debug_assert_ne" | "bail" | "ensure" => Value::default(),
            "include_str" | "include_bytes" => {
                let start = mac.path.span().start();
                let place = (frame.file, start.line, start.column + 1);
                Value { origins: Origins::FILE, ty: None, literal: Some(place) }
            }
            "env" | "option_env" | "line" | "file" | "column" | "module_path" | "stringify" => {
                Value::default()
            }
            "format" | "format_args" | "concat" => self.formatted(inner, frame),
            "matches" => match inner {
                [matched] => {
                    let value = self.expression(matched, frame);
                    let asked = match matched {
                        syn::Expr::Match(matched) => {
                            let of = self.expression(&matched.expr, frame);
                            matched
                                .arms
                                .first()
                                .map_or(Origins::NONE, |arm| super::conditions::pattern_test(&arm.pat, &of))
                        }
                        _ => Origins::NONE,
                    };
                    Value::of(asked | (value.origins & Origins::CHOICE))
                }
                _ => Value::default(),
            },
            "vec" => self.list(inner.iter(), frame),
            _ => {
                let mut value = Value::default();
                for expression in inner {
                    let part = self.expression(expression, frame);
                    value.join(&self.under_control(part, frame));
                }
                value
            }
        }
    }

    /// A format string and what is put into it.
    fn formatted(&mut self, inner: &'t [syn::Expr], frame: &mut Frame<'t>) -> Value {
        let mut value = Value::default();
        for expression in inner {
            let expression =
                if let syn::Expr::Assign(named) = expression { &named.right } else { expression };
            let part = self.expression(expression, frame);
            value.join(&self.shown(&part, frame));
            if let Some(syn::Lit::Str(text)) = literal_of(expression) {
                for name in captured(&text.value()) {
                    if let Some(local) = frame.locals.get(&name).cloned() {
                        value.join(&self.shown(&local, frame));
                    }
                    value.join(&self.named_constant(&name));
                }
            }
        }
        value.ty = None;
        value
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

fn last_span(path: &syn::Path) -> proc_macro2::Span {
    path.segments.last().map_or_else(proc_macro2::Span::call_site, |last| last.ident.span())
}

/// Whether an expression names a place that can be changed.
fn is_place(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Path(_) | syn::Expr::Field(_) | syn::Expr::Index(_) => true,
        syn::Expr::Reference(inner) => is_place(&inner.expr),
        syn::Expr::Unary(inner) => is_place(&inner.expr),
        syn::Expr::Paren(inner) => is_place(&inner.expr),
        syn::Expr::MethodCall(call) => {
            ["lock", "unwrap", "as_mut", "borrow_mut", "expect", "write", "entry", "or_default"]
                .iter()
                .any(|name| call.method == name)
                && is_place(&call.receiver)
        }
        _ => false,
    }
}

/// The names that a format string captures.
fn captured(format: &str) -> Vec<String> {
    let fields = format.split('{').skip(1).filter_map(|rest| rest.split(['}', ':']).next());
    let is_name = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.is_empty();
    fields
        .filter(is_name)
        .filter(|name| !name.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}
