//! `coverage` as a user meets it: what is measured, stored, printed and refused, with stand-ins for the tools.

use assert_cmd::assert::Assert;
use predicates::prelude::*;
use serde_json::{Value, json};

use crate::small::{SOURCE, Small};
use crate::support::{stderr, stdout};

/// Notes what lay in the build folder and what was set when the tests of a crate ran; exports what lies beside it.
const CARGO: &str = r#"
case "$*" in
"llvm-cov --version") echo "cargo-llvm-cov 0.9.1" ;;
"llvm-cov show-env"*)
    echo "CARGO_LLVM_COV=1"; echo "QUOTED='two words'"
    echo "__CARGO_LLVM_COV_RUSTC_WRAPPER_CRATE_NAMES=apr_format,apr_tensor,apr_tensor_tests,probador" ;;
"llvm-cov clean --workspace") mkdir -p target/llvm-cov ;;
"clean "*|"build "*) ;;
"test "*" --no-run --quiet") ;;
"test "*)
    ls target/llvm-cov > "$here/left-$4"
    env > "$here/environment"
    env | sed -n 's/.*_CRATE_NAMES=//p' > "$here/counted-$4"
    echo "counts" > "target/llvm-cov/$4.profraw"
    echo "$4" > target/llvm-cov/tested
    echo "test one_is_least ... ok" ;;
"llvm-cov report "*) cp "$here/$(cat target/llvm-cov/tested)$4" "$6" ;;
*) echo "no such command" >&2; exit 101 ;;
esac"#;

const RUSTC: &str = r#"
case "$*" in
"-vV") printf 'rustc 1.99.0\nbinary: rustc\nhost: x86_64-test\nLLVM version: 7777.1.8\n' ;;
"--print sysroot") echo "$here/sysroot" ;;
esac"#;

/// Where the compiler keeps LLVM's tools.
const LLVM_COV: &str = "sysroot/lib/rustlib/x86_64-test/bin/llvm-cov";

/// Lets the tests of `package` execute some lines of files and miss others.
fn execute(small: &Small, package: &str, files: &[(&str, &[u32], &[u32])]) {
    let (mut lcov, mut exported, mut functions) = (Vec::new(), Vec::new(), Vec::new());
    for (file, executed, missed) in files {
        let path = small.path().join(file).display().to_string();
        lcov.push(format!("SF:{path}"));
        lcov.extend(executed.iter().map(|line| format!("DA:{line},1")));
        lcov.extend(missed.iter().map(|line| format!("DA:{line},0")));
        lcov.push("end_of_record".to_owned());
        exported.push(json!({"filename": path, "branches": [[2, 8, 2, 13, 1, 0, 0, 0, 4]]}));
        functions.push(json!({"count": 1, "filenames": [path], "regions": [[1, 1, 3, 2, 1, 0, 0, 0]]}));
    }
    let json = json!({"data": [{"files": exported, "functions": functions}]});
    small.beside_programs(&format!("{package}--lcov"), &lcov.join("\n"));
    small.beside_programs(&format!("{package}--json"), &json.to_string());
}

/// A workspace with all tools. The core's own tests miss its line 2, which those of `apr-format` execute.
fn workspace() -> Small {
    let small = Small::new();
    small.program("cargo", CARGO);
    small.program("rustc", RUSTC);
    small.program("rustup", "exit 0");
    small.beside_programs(LLVM_COV, "");
    let core = "probador/core/src/lib.rs";
    execute(&small, "probador-core", &[(core, &[1, 3, 6], &[2]), ("probador/core/src/tests.rs", &[2], &[])]);
    execute(&small, "apr-format", &[("subjects/format/src/lib.rs", &[1, 2, 3], &[]), (core, &[1, 2], &[3])]);
    execute(&small, "probador", &[("probador/src/lib.rs", &[1], &[2, 3])]);
    small
}

/// The table, one blank between its words.
fn table(assert: &Assert) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    stdout(assert).lines().map(words).collect()
}

/// The crates whose tests were run.
fn tested(small: &Small) -> Vec<String> {
    let calls = small.calls().into_iter().filter(|call| call.ends_with("--no-fail-fast"));
    calls.map(|call| call.split(' ').nth(4).unwrap().to_owned()).collect()
}

#[test]
fn every_crate_is_measured_once_and_counts_with_what_the_tests_above_it_execute() {
    let small = workspace();
    small.write("target/llvm-cov/before.profraw", "counts of another run");
    let assert = small.run(&["coverage"]).code(0);
    assert_eq!(
        table(&assert),
        [
            "lines functions branches",
            "probador-core 100.00 % of 3 100.00 % of 1 50.00 % of 2",
            "apr-format 100.00 % of 3 100.00 % of 1 50.00 % of 2",
            "probador 33.33 % of 3 100.00 % of 1 50.00 % of 2",
            "workspace 77.78 % of 9 100.00 % of 3 50.00 % of 6",
            "the verdict core 100.00 % of 3 100.00 % of 1 50.00 % of 2",
        ]
    );
    assert_eq!(
        stderr(&assert),
        "cargo-llvm-cov 0.9.1, rustc 1.99.0: what takes longest is to build 3 crates anew\n\
         probador-core: running its tests\napr-format: running its tests\nprobador: running its tests\n"
    );
    let calls = small.calls();
    let expected = [
        "rustup run nightly rustc --version",
        "cargo llvm-cov --version",
        "rustc -vV",
        "rustc --print sysroot",
        "cargo llvm-cov show-env --branch",
        "cargo llvm-cov clean --workspace",
        "cargo test --release --package probador-core --no-run --quiet",
        "cargo test --release --package probador-core --no-fail-fast",
    ];
    assert_eq!(calls[..expected.len()], expected);
    // Two reports of each; the engine needs executables, and its kernels go without counters.
    let engine = [
        "cargo clean --release --package apr-tensor",
        "cargo build --release --workspace --bins --quiet",
        "cargo test --release --package probador --no-run --quiet",
        "cargo test --release --package probador --no-fail-fast",
    ];
    assert_eq!(calls[expected.len() + 2 + 4..][..engine.len()], engine);
    assert_eq!(calls.len(), expected.len() + 2 + 4 + engine.len() + 2, "{calls:?}");
    assert_eq!(small.left("counted-apr-format"), "apr_format,apr_tensor,apr_tensor_tests,probador\n");
    assert_eq!(small.left("counted-probador"), "apr_format,apr_tensor_tests,probador\n");
    assert_eq!(small.left("left-probador-core"), "", "counts of another run");
    assert_eq!(small.left("left-probador"), "export.json\nlcov.info\ntested\n", "counts of the crates below");
    let set = small.left("environment");
    let target = format!("CARGO_TARGET_DIR={}", small.path().join("target/llvm-cov").display());
    for line in ["RUSTUP_TOOLCHAIN=nightly", "CARGO_LLVM_COV=1", "QUOTED=two words", &target] {
        assert!(set.lines().any(|other| other == line), "{line} is not set: {set}");
    }
    assert_eq!(small.read("target/probador/coverage-probador.log"), "test one_is_least ... ok\n");

    let again = small.run(&["coverage"]).code(0);
    assert_eq!(stdout(&again), stdout(&assert));
    assert_eq!(stderr(&again), "no crate has changed since its coverage was stored\n");
    assert_eq!(small.calls(), Vec::<String>::new());
}

#[test]
fn a_crate_is_measured_with_those_below_it_and_again_only_when_it_changed_or_is_asked_for() {
    let small = workspace();
    let assert = small.run(&["coverage", "--crate", "apr-format"]).code(0);
    let calls = small.calls();
    assert!(!calls.iter().any(|call| call.starts_with("cargo build")), "{calls:?}");
    let stale = "probador none none none stale";
    assert_eq!(
        table(&assert)[2..5],
        [
            "apr-format 100.00 % of 3 100.00 % of 1 50.00 % of 2",
            stale,
            "workspace 100.00 % of 6 100.00 % of 2 50.00 % of 4 stale"
        ]
    );
    small.run(&["coverage", "--crate", "apr-format", "--fresh"]).code(0);
    assert_eq!(tested(&small), ["apr-format"], "the crate below has not changed");
    small.write("subjects/format/src/lib.rs", &format!("{SOURCE}// changed\n"));
    small.run(&["coverage", "--crate", "probador-core"]).code(0);
    assert_eq!(tested(&small), Vec::<String>::new(), "what changed is above it");
    small.run(&["coverage"]).code(0);
    assert_eq!(tested(&small), ["apr-format", "probador"]);
    small.write("probador/core/src/lib.rs", &format!("{SOURCE}// changed\n"));
    let assert = small.run(&["coverage", "--crate", "apr-format"]).code(0);
    assert_eq!(tested(&small), ["probador-core", "apr-format"], "what it executes below has changed");
    assert_eq!(table(&assert).last().unwrap(), "the verdict core 100.00 % of 3 100.00 % of 1 50.00 % of 2");
    small.run(&["coverage", "--crate", "nothing"]).code(3).stderr(predicate::str::contains(
        "there is no crate `nothing` in the workspace; there are: probador-core, apr-format, probador\n",
    ));
}

#[test]
fn the_verdict_core_is_as_fresh_as_its_crate() {
    let small = workspace();
    small.write("subjects/format/Cargo.toml", "[package]\nname = \"apr-format\"\n");
    let last = |name: &str| table(&small.run(&["coverage", "--crate", name]).code(0)).pop().unwrap();
    assert_eq!(last("apr-format"), "the verdict core none none none stale");
    assert_eq!(last("probador-core"), "the verdict core 66.67 % of 3 100.00 % of 1 50.00 % of 2");
}

#[test]
fn what_is_stored_of_a_crate_that_is_gone_is_dropped() {
    let small = workspace();
    small.run(&["coverage"]).code(0);
    tested(&small);
    let stored = small.read("checklist/coverage.json");
    small.write("checklist/coverage.json", &stored.replace("\"apr-format\": {", "\"apr-gone\": {"));
    small.run(&["coverage"]).code(0);
    assert_eq!(tested(&small), ["apr-format"]);
    assert_eq!(small.read("checklist/coverage.json"), stored);
}

#[test]
fn lines_that_are_missed_are_listed_and_shown() {
    let small = workspace();
    small.run(&["coverage", "--format", "terse"]).code(0).stdout("probador/src/lib.rs: 2-3\n");
    let assert = small.run(&["coverage", "--format", "json", "--html"]).code(0);
    let document: Value = serde_json::from_str(&stdout(&assert)).unwrap();
    assert_eq!(document["missed"], json!([{"file": "probador/src/lib.rs", "lines": "2-3"}]));
    assert_eq!(document["rows"][2]["lines"], json!({"executed": 1, "total": 3}));
    let page = small.path().join("reports/coverage.html");
    assert!(stderr(&assert).ends_with(&format!("written {}\n", page.display())));
    let html = small.read("reports/coverage.html");
    assert!(html.contains("probador/src/lib.rs") && html.contains("77.78"), "{html}");
}

#[test]
fn a_limit_is_about_the_crates_that_were_asked_for_or_the_workspace() {
    let small = workspace();
    small.run(&["coverage", "--fail-under", "77.7"]).code(0);
    let check = |crates: &[&str], limit: &str, code: i32, said: &str| {
        let crates = crates.iter().flat_map(|name| ["--crate", name]);
        let arguments: Vec<&str> =
            ["coverage", "--quiet", "--fail-under", limit].into_iter().chain(crates).collect();
        let assert = small.run(&arguments).code(code);
        assert_eq!(stderr(&assert), said);
    };
    check(&[], "80", 100, "77.78 % of lines are covered, 80 % are asked for\n");
    check(&["probador"], "50", 100, "33.33 % of lines are covered, 50 % are asked for\n");
    check(&["probador", "apr-format"], "70", 100, "66.67 % of lines are covered, 70 % are asked for\n");
    check(&["probador-core"], "100", 0, "");
}

#[test]
fn without_a_nightly_compiler_branches_are_not_counted_and_that_is_said() {
    let small = workspace();
    small.program("rustup", "exit 1");
    let assert = small.run(&["coverage", "--crate", "probador-core"]).code(0);
    assert!(stderr(&assert).contains(
        "branches are not counted, which needs a nightly compiler\nhint: rustup toolchain install nightly\n"
    ));
    assert!(small.calls().contains(&"cargo llvm-cov show-env".to_owned()));
    assert!(!small.left("environment").contains("RUSTUP_TOOLCHAIN"));
    let stored: Value = serde_json::from_str(&small.read("checklist/coverage.json")).unwrap();
    assert_eq!(stored["crates"]["probador-core"]["has_branches"], false);
}

#[test]
fn the_tools_of_llvm_are_the_compilers_or_those_that_are_named_or_the_systems_of_its_version() {
    let small = workspace();
    let set = |engine: &mut assert_cmd::Command| {
        engine.args(["coverage", "--fresh", "--crate", "probador-core"]).assert().code(0);
        let environment = small.left("environment");
        let lines = environment
            .lines()
            .filter(|line| line.starts_with("LLVM_COV=") || line.starts_with("LLVM_PROFDATA="));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(set(&mut small.engine()), Vec::<String>::new(), "the compiler's");
    let mut named = small.engine();
    assert_eq!(
        set(named.env("LLVM_COV", "/a/cov").env("LLVM_PROFDATA", "/a/data")),
        ["LLVM_COV=/a/cov", "LLVM_PROFDATA=/a/data"]
    );
    small.remove(LLVM_COV);
    small.program("llvm-cov-7777", "exit 0");
    small.program("llvm-profdata-7777", "exit 0");
    let system = ["LLVM_COV=llvm-cov-7777", "LLVM_PROFDATA=llvm-profdata-7777"];
    assert_eq!(set(&mut small.engine()), system);
    // One alone is not what to measure with.
    assert_eq!(set(small.engine().env("LLVM_COV", "/a/cov")), system);
    small.program("llvm-profdata-7777", "exit 1");
    let missing = |hint: &str| {
        let assert = small.run(&["coverage", "--fresh", "--crate", "probador-core"]).code(3);
        let expected = format!("the LLVM tools are missing\nhint: rustup component add {hint}\n");
        assert!(stderr(&assert).ends_with(&expected), "{}", stderr(&assert));
    };
    missing("llvm-tools --toolchain nightly, or install LLVM 7777, which has `llvm-profdata-7777`");
    small.program("rustup", "exit 1");
    small.remove("llvm-cov-7777");
    missing("llvm-tools, or install LLVM 7777, which has `llvm-cov-7777`");
}

#[test]
fn a_run_that_shows_nothing_is_an_error_that_says_what_to_do_and_stores_nothing() {
    let small = workspace();
    let refuses = |spoil: (&str, &str), said: &str| {
        assert!(CARGO.contains(spoil.0), "{}", spoil.0);
        small.program("cargo", &CARGO.replace(spoil.0, spoil.1));
        let assert = small.run(&["coverage", "--crate", "probador-core"]).code(3);
        let said = said.replace("ROOT", &small.path().display().to_string());
        assert!(stderr(&assert).contains(&said), "{}", stderr(&assert));
        assert!(!small.path().join("checklist/coverage.json").exists());
    };
    refuses(("cp \"$here", ": \"$here"), "failed to read `ROOT/target/llvm-cov/lcov.info`");
    refuses(
        ("\"llvm-cov --version\"", "never"),
        "hint: cargo install --locked cargo-llvm-cov: `cargo llvm-cov --version` exits with 101: no such command\n",
    );
    refuses(
        ("one_is_least ... ok\"", "one_is_least ... FAILED\"; exit 101"),
        "the tests of probador-core fail, so what they execute shows nothing:\ntest one_is_least ... FAILED\n\
         hint: see `ROOT/target/probador/coverage-probador-core.log`\n",
    );
    refuses(
        ("echo \"test one_is", "echo '// more' >> probador/core/src/lib.rs; echo \"test one_is"),
        "the sources of probador-core changed while its tests ran\nhint: run it again\n",
    );
    refuses(
        ("clean --workspace\") mkdir", "clean --workspace\") exit 5; mkdir"),
        "`cargo llvm-cov clean --workspace` exits with 5",
    );
}
