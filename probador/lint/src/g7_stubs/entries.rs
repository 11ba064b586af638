//! Where prompts come in: programs, handlers, models, and functions that take text and that nothing in the tree calls.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::super::calls::Function;
use super::super::flow::{Origins, Program, Value, holds_text};
use super::super::tree::{Role as FileRole, Tree};

/// A function to run from outside.
pub(super) struct Entry {
    pub(super) function: usize,
    pub(super) arguments: Vec<Value>,
    pub(super) role: Role,
    /// Whether something in the tree calls it too.
    pub(super) is_called: bool,
    /// Whether an argument is a prompt.
    pub(super) takes_prompt: bool,
    /// Whether it returns text or tokens.
    pub(super) returns_text: bool,
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// A `main`.
    Program,
    /// What a framework calls with a request.
    Handler,
    /// A function that takes text.
    Library,
    /// A forward pass: tokens in, logits out.
    Logits,
}

/// Names under which frameworks take handlers.
const ROUTES: [&str; 14] = [
    "get",
    "post",
    "put",
    "delete",
    "patch",
    "any",
    "on",
    "to",
    "service_fn",
    "handler_fn",
    "handle",
    "and_then",
    "route",
    "from_fn",
];
/// Types that frameworks hand to handlers.
const REQUESTS: [&str; 9] = [
    "Json",
    "Query",
    "Form",
    "HttpRequest",
    "Request",
    "Incoming",
    "Multipart",
    "WebSocketUpgrade",
    "WebSocket",
];
/// Types that tell a handler about its surroundings.
const SURROUNDINGS: [&str; 6] = ["State", "Extension", "HeaderMap", "Headers", "Method", "Uri"];
/// Names of forward passes.
const FORWARD: [&str; 12] = [
    "forward",
    "prefill",
    "decode",
    "logits",
    "next_logits",
    "compute_logits",
    "forward_pass",
    "step",
    "predict",
    "infer",
    "evaluate",
    "next_token_logits",
];

/// Every entry of the tree.
pub(super) fn of(tree: &Tree, program: &Program<'_>) -> Vec<Entry> {
    let binaries: BTreeSet<&str> = tree
        .subjects()
        .flat_map(|krate| &krate.files)
        .filter(|file| file.role == FileRole::Binary)
        .map(|file| file.path.as_str())
        .collect();
    let handlers = handlers(program);
    let called = called(program);
    let mut entries = Vec::new();
    for (index, function) in program.graph.functions.iter().enumerate() {
        if function.body.is_none() {
            continue;
        }
        let is_handler = handlers.contains(&index) || is_handler(function);
        let arguments = arguments(function, program, is_handler);
        let takes_prompt = arguments.iter().any(|argument| argument.any(Origins::PROMPT));
        let is_called = called.contains(&index);
        let returns_text =
            returns(function, &["String", "str", "Cow", "TokenId", "u32", "Response", "Reply", "Completion"])
                || returns_holder_of_text(function, program);
        let is_model = function.implements.as_deref() == Some("CausalLm")
            && ["prefill", "decode", "forward"].contains(&function.name.as_str());
        let is_forward = FORWARD.contains(&function.name.as_str()) && takes_tokens(function);
        let returns_logits = returns(function, &["f32", "f64", "Logits", "Tensor", "Array1", "Array2"]);
        let role =
            if function.name == "main" && function.self_type.is_none() && binaries.contains(function.file) {
                Role::Program
            } else if is_handler {
                Role::Handler
            } else if is_model || (is_forward && returns_logits) {
                Role::Logits
            } else if takes_prompt {
                Role::Library
            } else {
                continue;
            };
        let is_called = is_called && role == Role::Library;
        let arguments = if role == Role::Logits { state_only(function, arguments) } else { arguments };
        entries.push(Entry { function: index, arguments, role, is_called, takes_prompt, returns_text });
    }
    entries
}

/// For a forward pass: the tokens it is given, and the model itself.
fn state_only(function: &Function<'_>, arguments: Vec<Value>) -> Vec<Value> {
    let is_self = |input: &syn::FnArg| matches!(input, syn::FnArg::Receiver(_));
    let keep = |(input, value): (&syn::FnArg, Value)| {
        if is_self(input) || value.any(Origins::PROMPT) { value } else { value.without(Origins::STATE) }
    };
    function.signature.inputs.iter().zip(arguments).map(keep).collect()
}

/// What an entry is called with.
fn arguments(function: &Function<'_>, program: &Program<'_>, is_handler: bool) -> Vec<Value> {
    let self_type = function.self_type.as_deref();
    let argument = |input: &syn::FnArg| {
        let typed = match input {
            syn::FnArg::Receiver(_) => return Value::default().typed(self_type.map(Into::into)),
            syn::FnArg::Typed(typed) => typed,
        };
        let ty = program.type_in(&typed.ty, self_type);
        let mut words = names(&typed.ty);
        // A generic parameter is what its bounds say.
        for parameter in &function.signature.generics.params {
            if let syn::GenericParam::Type(parameter) = parameter
                && words.contains(&parameter.ident.to_string())
            {
                parameter.bounds.iter().for_each(|bound| words.extend(bound_names(bound)));
            }
        }
        if let Some(clause) = &function.signature.generics.where_clause {
            for predicate in &clause.predicates {
                if let syn::WherePredicate::Type(predicate) = predicate
                    && names(&predicate.bounded_ty).iter().any(|name| words.contains(name))
                {
                    predicate.bounds.iter().for_each(|bound| words.extend(bound_names(bound)));
                }
            }
        }
        let has = |any: &[&str]| any.iter().any(|name| words.contains(*name));
        let says = |ty: &str| {
            ["Request", "Message", "Prompt", "Query", "Chat", "Conversation", "Input", "Turn", "Question"]
                .iter()
                .any(|word| ty.contains(word))
        };
        let origins = if has(&["Formatter"]) {
            Origins::FORMATTER
        } else if has(&SURROUNDINGS) {
            Origins::OPAQUE
        } else if is_handler && has(&REQUESTS) {
            Origins::PROMPT | Origins::RAW
        } else if has(&["TcpStream", "UnixStream"]) {
            Origins::PROMPT | Origins::STREAM
        } else if has(&["Fn", "FnMut", "FnOnce", "fn"]) {
            Origins::CALLBACK | Origins::OPAQUE
        } else if has(&["Write", "Stdout", "StdoutLock", "AsyncWrite", "ResponseWriter"]) {
            Origins::STREAM
        } else if has(&["BufRead", "Read", "Stdin", "StdinLock", "AsyncRead", "AsyncBufRead"]) {
            Origins::PROMPT
        } else if has(&["Path", "PathBuf", "File", "HashMap", "BTreeMap"]) {
            Origins::OPAQUE
        } else if let Some(ty) = &ty {
            let is_parsed = program.type_info(ty).is_some_and(super::super::flow::TypeInfo::is_parsed);
            if (is_handler && is_parsed) || says(ty) {
                Origins::PROMPT | Origins::RAW
            } else if &**ty == "TokenId" {
                Origins::PROMPT
            } else {
                Origins::OPAQUE
            }
        } else if has(&["str", "String", "Cow", "Bytes", "ToString"])
            || (is_handler && has(&["Value"]))
            || is_tokens(&typed.ty)
        {
            Origins::PROMPT
        } else {
            Origins::OPAQUE
        };
        Value::of(origins).typed(ty)
    };
    function.signature.inputs.iter().map(argument).collect()
}

/// Every name in a type.
fn names(ty: &syn::Type) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl<'ast> Visit<'ast> for Names {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.0.insert(segment.ident.to_string());
            visit::visit_path_segment(self, segment);
        }
        fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {
            self.0.insert("fn".to_owned());
        }
    }
    let mut names = Names(BTreeSet::new());
    names.visit_type(ty);
    names.0
}

fn bound_names(bound: &syn::TypeParamBound) -> BTreeSet<String> {
    match bound {
        syn::TypeParamBound::Trait(bound) => {
            bound.path.segments.iter().map(|segment| segment.ident.to_string()).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// Whether a type is a list of token ids.
fn is_tokens(ty: &syn::Type) -> bool {
    let of_integers = |ty: &syn::Type| {
        names(ty).iter().any(|name| ["u32", "TokenId", "i64", "usize", "u16", "i32"].contains(&name.as_str()))
    };
    match ty {
        syn::Type::Reference(reference) => {
            matches!(&*reference.elem, syn::Type::Slice(slice) if of_integers(&slice.elem))
        }
        syn::Type::Path(path) => {
            path.path.segments.last().is_some_and(|last| last.ident == "Vec") && of_integers(ty)
        }
        _ => false,
    }
}

fn takes_tokens(function: &Function<'_>) -> bool {
    function.signature.inputs.iter().any(|input| match input {
        syn::FnArg::Typed(typed) => {
            is_tokens(&typed.ty)
                || names(&typed.ty).iter().any(|name| ["TokenId", "u32", "Tensor"].contains(&name.as_str()))
        }
        syn::FnArg::Receiver(_) => false,
    })
}

fn returns(function: &Function<'_>, any: &[&str]) -> bool {
    match &function.signature.output {
        syn::ReturnType::Type(_, ty) => {
            // The error of a `Result` is not what is returned.
            let shown = success(ty);
            names(shown).iter().any(|name| {
                any.contains(&name.as_str()) || any.iter().any(|word| word.len() > 6 && name.contains(word))
            })
        }
        syn::ReturnType::Default => false,
    }
}

/// Whether what is returned is a type of the tree with text among its fields.
fn returns_holder_of_text(function: &Function<'_>, program: &Program<'_>) -> bool {
    let syn::ReturnType::Type(_, ty) = &function.signature.output else { return false };
    let Some(ty) = program.type_in(success(ty), function.self_type.as_deref()) else { return false };
    program.type_info(&ty).is_some_and(|info| info.fields.values().any(|field| holds_text(field)))
}

/// What a `Result` holds when all is well.
fn success(ty: &syn::Type) -> &syn::Type {
    if let syn::Type::Path(path) = ty
        && let Some(last) = path.path.segments.last()
        && last.ident == "Result"
        && let syn::PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(syn::GenericArgument::Type(inner)) = arguments.args.first()
    {
        return inner;
    }
    ty
}

/// Whether a function's attributes or parameters say that a framework calls it.
fn is_handler(function: &Function<'_>) -> bool {
    let by_attribute = function.attributes.iter().any(|attribute| {
        let name = attribute.path().segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        ["get", "post", "put", "route", "handler", "endpoint"].contains(&name.as_str())
    });
    let by_parameter = function.signature.inputs.iter().any(|input| match input {
        syn::FnArg::Typed(typed) => {
            let words = names(&typed.ty);
            ["Json", "HttpRequest", "Form", "WebSocket", "WebSocketUpgrade"]
                .iter()
                .any(|name| words.contains(*name))
        }
        syn::FnArg::Receiver(_) => false,
    });
    by_attribute || by_parameter
}

/// Functions that are handed to a router.
pub(crate) fn handlers(program: &Program<'_>) -> BTreeSet<usize> {
    struct Routes<'p, 't> {
        program: &'p Program<'t>,
        function: usize,
        found: BTreeSet<usize>,
    }
    impl Routes<'_, '_> {
        fn add<'e>(&mut self, arguments: impl Iterator<Item = &'e syn::Expr>) {
            for argument in arguments {
                if let syn::Expr::Path(path) = argument
                    && let Some(last) = path.path.segments.last()
                    && let Some(path) = self.program.path_at(self.function, last.ident.span())
                {
                    let start = last.ident.span().start();
                    let callees = self.program.callees(self.function, path, (start.line, start.column + 1));
                    let with_input =
                        |&callee: &usize| !self.program.graph.functions[callee].signature.inputs.is_empty();
                    self.found.extend(callees.into_iter().filter(with_input));
                }
            }
        }
    }
    impl<'ast> Visit<'ast> for Routes<'_, '_> {
        fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
            if let syn::Expr::Path(path) = &*call.func
                && path.path.segments.last().is_some_and(|last| ROUTES.iter().any(|name| last.ident == name))
            {
                self.add(call.args.iter());
            }
            visit::visit_expr_call(self, call);
        }
        fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
            if ["route", "to", "post", "get", "at", "handler", "service", "or"]
                .iter()
                .any(|name| call.method == name)
            {
                self.add(call.args.iter());
            }
            visit::visit_expr_method_call(self, call);
        }
    }
    let mut routes = Routes { program, function: 0, found: BTreeSet::new() };
    for (index, function) in program.graph.functions.iter().enumerate() {
        routes.function = index;
        if let Some(body) = function.body {
            routes.visit_block(body);
        }
    }
    routes.found
}

/// Functions that others call.
fn called(program: &Program<'_>) -> BTreeSet<usize> {
    let mut called = BTreeSet::new();
    for (index, function) in program.graph.functions.iter().enumerate() {
        for call in &function.calls {
            let callees = program.graph.resolve(function, call);
            called.extend(callees.into_iter().filter(|&callee| callee != index));
        }
    }
    called
}
