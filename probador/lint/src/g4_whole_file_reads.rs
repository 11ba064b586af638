//! G4: models are mapped, not read.
//!
//! The loading paths are what the entry points reach in the call graph: functions called `open`, `load`, `import` or
//! beginning so, and functions that return a type which implements `CausalLm`. On them nothing reads a file whole:
//! not `fs::read`, not `fs::read_to_string`, not `read_to_end` or `read_to_string` on an opened file. A read that is
//! bounded by `take` is a read of something small.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::calls::{Call, CallGraph, Function, SpanKey, implementors};
use super::finding::Findings;
use super::rule::{Example, Kind, Rule};
use super::tree::{LintError, Tree};

const ENTRY_NAMES: [&str; 3] = ["open", "load", "import"];
const WHOLE_READS: [&str; 2] = ["read", "read_to_string"];
const WHOLE_READ_METHODS: [&str; 2] = ["read_to_end", "read_to_string"];

pub(super) const RULE: Rule = Rule {
    id: "G4",
    also: &[],
    name: "model-read-into-memory",
    what: "a whole file read into memory (`fs::read`, `read_to_end`, `read_to_string`) where models are loaded",
    kind: Kind::Violation,
    check,
    must_flag: &[
        Example {
            what: "fs::read in a loader, spelled in three ways",
            files: &[(
                "src/lib.rs",
                "use std::fs;\nuse std::fs::read as slurp;\npub fn load(path: &Path) -> Vec<u8> {\n    let a = fs::read(path);\n    \
                 let b = std::fs::read(path);\n    slurp(path)\n}\n",
            )],
            at: &[("src/lib.rs", 4), ("src/lib.rs", 5), ("src/lib.rs", 6)],
        },
        Example {
            what: "fs::read far below an entry point, in another crate, passed as a value",
            files: &[
                ("model/Cargo.toml", "[package]\nname = \"model\"\n"),
                (
                    "model/src/lib.rs",
                    "pub struct M;\nimpl CausalLm for M {}\nimpl M {\n    pub fn from_file(path: &Path) -> Result<Self, E> {\n        weights::bytes_of(path)\n    }\n}\n",
                ),
                ("weights/Cargo.toml", "[package]\nname = \"weights\"\n"),
                (
                    "weights/src/lib.rs",
                    "pub fn bytes_of(path: &Path) -> Vec<u8> {\n    Some(path).map(std::fs::read)\n}\n",
                ),
            ],
            at: &[("weights/src/lib.rs", 2)],
        },
        Example {
            what: "read_to_end on an opened file, bound to a name or not, given as a parameter or kept in a field",
            files: &[(
                "src/lib.rs",
                "struct S {\n    inner: std::io::BufReader<std::fs::File>,\n}\nimpl S {\n    fn load(&mut self, out: &mut Vec<u8>) {\n        \
                 self.inner.read_to_end(out);\n    }\n}\nfn open_model(path: &Path, out: &mut Vec<u8>) {\n    \
                 let mut file = File::open(path).unwrap();\n    file.read_to_end(out);\n    \
                 File::open(path).unwrap().read_to_end(out);\n    rest(file, out);\n}\n\
                 fn rest(mut file: File, out: &mut Vec<u8>) {\n    file.read_to_end(out);\n}\n",
            )],
            at: &[("src/lib.rs", 6), ("src/lib.rs", 11), ("src/lib.rs", 12), ("src/lib.rs", 16)],
        },
        Example {
            what: "a file that was opened in parentheses or with options",
            files: &[(
                "src/lib.rs",
                "pub struct Reader(File);\nimpl Reader {\n    pub fn open(path: &Path, out: &mut Vec<u8>) {\n        let file = (File::open(path)?);\n        \
                     file.read_to_end(out);\n        let other = OpenOptions::new().open(path)?;\n        other.read_to_string(out);\n    }\n}\n",
            )],
            at: &[("src/lib.rs", 5), ("src/lib.rs", 7)],
        },
    ],
    must_not_flag: &[
        Example {
            what: "a mapping, and a read that is bounded",
            files: &[(
                "src/lib.rs",
                "pub fn open(path: &Path) {\n    let file = File::open(path);\n    map(&file);\n    let mut small = Vec::new();\n    \
                 File::open(path).take(100).read_to_end(&mut small);\n    let mut limited = File::open(path).take(9);\n    \
                 limited.read_to_end(&mut small);\n}\nfn map(file: &File) {}\n",
            )],
            at: &[],
        },
        Example {
            what: "fs::read where no model is loaded, and in tests",
            files: &[(
                "src/lib.rs",
                "pub fn open(path: &Path) {}\npub fn transcript(path: &Path) -> Vec<u8> {\n    std::fs::read(path)\n}\n\
                 #[cfg(test)]\nmod tests {\n    fn load() {\n        std::fs::read(\"x\");\n    }\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "a decompressor over bytes that are in memory already, and a function of one's own called read",
            files: &[(
                "src/lib.rs",
                "pub fn open(bytes: &[u8], out: &mut Vec<u8>) {\n    let mut decoder = Decoder::new(bytes);\n    decoder.read_to_end(out);\n    \
                 parts::read(bytes);\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "a field without a name that holds no file, and what a block made of one",
            files: &[(
                "src/lib.rs",
                "pub struct Reader(Vec<u8>);\nimpl Reader {\n    pub fn open(&mut self, out: &mut Vec<u8>) {\n        self.0.read_to_end(out);\n        \
                     BufReader::new({ fs::File::open(\"a\").len() }).read_to_end(out);\n    }\n}\n",
            )],
            at: &[],
        },
    ],
};

fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    let graph = CallGraph::of(tree);
    let models = implementors(tree, "CausalLm");
    let reached = graph.reached(|function| is_entry(function, &models));
    if reached.is_empty() {
        let what =
            "no function loads a model (is called open.., load.. or import.., or returns one)".to_owned();
        return Err(LintError::NothingToJudge { rule: RULE.id, what });
    }
    let file_fields = file_fields(tree);
    for &index in reached.keys() {
        let function = &graph.functions[index];
        for ((line, column), what) in whole_reads(function, &file_fields) {
            let way = graph.way_to(index, &reached);
            let reason = format!(
                "{what} reads a whole file into memory where models are loaded ({way})\nhint: map it, or bound the read with `take`"
            );
            findings.at_line(function.file, line, column, reason);
        }
    }
    Ok(())
}

fn is_entry(function: &Function<'_>, models: &BTreeSet<String>) -> bool {
    let named = ENTRY_NAMES.iter().any(|entry| {
        function.name.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    });
    named || returns_model(function, models)
}

fn returns_model(function: &Function<'_>, models: &BTreeSet<String>) -> bool {
    struct Names<'n>(&'n BTreeSet<String>, Option<&'n str>, bool);
    impl<'ast> Visit<'ast> for Names<'_> {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            let name = segment.ident.to_string();
            let meant = if name == "Self" { self.1.unwrap_or("Self") } else { &name };
            self.2 |= self.0.contains(meant);
            visit::visit_path_segment(self, segment);
        }
    }
    let mut names = Names(models, function.self_type.as_deref(), false);
    names.visit_return_type(&function.signature.output);
    // A method that hands itself on loads nothing.
    names.2 && function.signature.receiver().is_none()
}

/// Names of fields, anywhere in the subjects, whose type holds a `File`.
fn file_fields(tree: &Tree) -> BTreeSet<String> {
    struct Fields(BTreeSet<String>);
    impl<'ast> Visit<'ast> for Fields {
        fn visit_field(&mut self, field: &'ast syn::Field) {
            if let Some(name) = &field.ident
                && mentions_file(&field.ty)
            {
                self.0.insert(name.to_string());
            }
        }
    }
    let mut fields = Fields(BTreeSet::new());
    tree.subjects().flat_map(|krate| &krate.files).for_each(|file| fields.visit_file(&file.syntax));
    fields.0
}

fn mentions_file(ty: &syn::Type) -> bool {
    struct Mentions(bool);
    impl<'ast> Visit<'ast> for Mentions {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.0 |= segment.ident == "File";
            visit::visit_path_segment(self, segment);
        }
    }
    let mut mentions = Mentions(false);
    mentions.visit_type(ty);
    mentions.0
}

/// Where `function` reads a whole file, and how.
fn whole_reads(function: &Function<'_>, file_fields: &BTreeSet<String>) -> Vec<(SpanKey, String)> {
    let mut found: Vec<(SpanKey, String)> = function
        .calls
        .iter()
        .filter_map(|call| match call {
            Call::Path(path, at) => match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                [.., "fs", name] if WHOLE_READS.contains(name) => Some((*at, format!("`fs::{name}`"))),
                _ => None,
            },
            Call::Method(..) => None,
        })
        .collect();
    let mut reads = Reads { file_fields, files: BTreeSet::new(), found: Vec::new() };
    for input in &function.signature.inputs {
        if let syn::FnArg::Typed(typed) = input
            && mentions_file(&typed.ty)
        {
            reads.name_files(&typed.pat);
        }
    }
    if let Some(body) = function.body {
        reads.visit_block(body);
    }
    found.append(&mut reads.found);
    found.sort();
    found
}

/// Follows, statement by statement, which names are opened files.
struct Reads<'r> {
    file_fields: &'r BTreeSet<String>,
    files: BTreeSet<String>,
    found: Vec<(SpanKey, String)>,
}

impl Reads<'_> {
    fn name_files(&mut self, pattern: &syn::Pat) {
        struct Names<'n>(&'n mut BTreeSet<String>);
        impl<'ast> Visit<'ast> for Names<'_> {
            fn visit_pat_ident(&mut self, name: &'ast syn::PatIdent) {
                self.0.insert(name.ident.to_string());
            }
        }
        Names(&mut self.files).visit_pat(pattern);
    }

    /// Whether `expression` is an opened file, or wraps one, and is not bounded.
    fn is_file(&self, expression: &syn::Expr) -> bool {
        struct Looks<'l> {
            files: &'l BTreeSet<String>,
            fields: &'l BTreeSet<String>,
            opens: bool,
            is_bounded: bool,
        }
        impl<'ast> Visit<'ast> for Looks<'_> {
            fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
                let segments: Vec<_> =
                    path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
                match segments.as_slice() {
                    [name] => self.opens |= self.files.contains(name),
                    [.., owner, function] => self.opens |= owner == "File" && function.starts_with("open"),
                    [] => {}
                }
            }
            fn visit_expr_field(&mut self, field: &'ast syn::ExprField) {
                if let syn::Member::Named(name) = &field.member {
                    self.opens |= self.fields.contains(&name.to_string());
                }
                visit::visit_expr_field(self, field);
            }
            fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
                // `OpenOptions::new()..open(path)` opens one, `take` bounds it.
                self.is_bounded |= call.method == "take";
                self.opens |= call.method == "open";
                visit::visit_expr_method_call(self, call);
            }
            fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
            fn visit_expr_block(&mut self, _: &'ast syn::ExprBlock) {}
        }
        let mut looks =
            Looks { files: &self.files, fields: self.file_fields, opens: false, is_bounded: false };
        looks.visit_expr(expression);
        looks.opens && !looks.is_bounded
    }
}

impl<'ast> Visit<'ast> for Reads<'_> {
    fn visit_local(&mut self, local: &'ast syn::Local) {
        visit::visit_local(self, local);
        if let Some(init) = &local.init
            && is_value_of_interest(&init.expr)
            && self.is_file(&init.expr)
        {
            self.name_files(&local.pat);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let method = call.method.to_string();
        if WHOLE_READ_METHODS.contains(&method.as_str()) && self.is_file(&call.receiver) {
            let start = call.method.span().start();
            self.found.push(((start.line, start.column + 1), format!("`{method}` on a file")));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

/// Whether an initialiser can itself be the file: not what some function made of it.
fn is_value_of_interest(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Call(call) => match &*call.func {
            // `File::open(..)`, `BufReader::new(file)`: constructors keep the file.
            syn::Expr::Path(path) => {
                let owner = path.path.segments.iter().rev().nth(1).map(|segment| segment.ident.to_string());
                owner.is_some_and(|owner| owner.ends_with("File") || owner.ends_with("Reader"))
            }
            _ => false,
        },
        syn::Expr::Try(inner) => is_value_of_interest(&inner.expr),
        syn::Expr::MethodCall(call) => {
            matches!(
                call.method.to_string().as_str(),
                "unwrap"
                    | "expect"
                    | "map_err"
                    | "with_context"
                    | "context"
                    | "open"
                    | "try_clone"
                    | "ok"
                    | "ok_or_else"
            ) && (call.method == "open" || is_value_of_interest(&call.receiver))
        }
        syn::Expr::Reference(inner) => is_value_of_interest(&inner.expr),
        syn::Expr::Paren(inner) => is_value_of_interest(&inner.expr),
        syn::Expr::Path(_) => true,
        _ => false,
    }
}
