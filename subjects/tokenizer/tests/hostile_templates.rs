//! Templates that loop, grow, nest or reach out are stopped with little time and memory spent (hostile 25). A test
//! binary of its own: the memory is the process's.
#![allow(clippy::unwrap_used, reason = "a test fails where it is")]

mod support;

use std::time::{Duration, Instant};

use apr_tokenizer::{ChatTemplate, TemplateError};
use support::{tokenizer, turn};

/// Renders `source` over one short message, on a thread with the stack that tests and servers have.
fn outcome(source: &str) -> Result<usize, TemplateError> {
    let source = source.to_owned();
    let rendering = move || {
        let tokenizer = tokenizer();
        let start = Instant::now();
        let segments = ChatTemplate::new(&source)
            .and_then(|template| template.render(&[turn("user", "hi")], true, &tokenizer));
        assert!(start.elapsed() < Duration::from_secs(20), "{source} took {:?}", start.elapsed());
        segments.map(|segments| segments.len())
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(rendering).unwrap();
    let outcome = thread.join().unwrap();
    if let Some(peak) = support::peak_memory() {
        assert!(peak < 300 << 20, "{peak} bytes of memory");
    }
    outcome
}

#[track_caller]
fn stopped(source: &str) {
    assert_eq!(outcome(source), Err(TemplateError::OutOfBudget), "{source}");
}

#[track_caller]
fn failed(source: &str, expected: &str) {
    match outcome(source) {
        Err(TemplateError::Failed(message) | TemplateError::Syntax(message)) => {
            assert!(message.contains(expected), "{source}: {message}");
        }
        other => panic!("{source}: {other:?}"),
    }
}

/// `body` in a loop of a hundred thousand rounds.
fn in_loop(before: &str, body: &str) -> String {
    format!("{before}{{% for i in range(100000) %}}{body}{{% endfor %}}")
}

/// Checks that `body` in a loop is paid for: within the budget after `cheap`, beyond it after `dear`.
#[track_caller]
fn paid_for(cheap: &str, dear: &str, body: &str) {
    let in_rounds = |before: &str| format!("{before}{{% for i in range(1000) %}}{body}{{% endfor %}}");
    let outcome = outcome(&in_rounds(cheap));
    assert!(outcome.is_ok(), "{cheap} {body}: {outcome:?}");
    stopped(&in_rounds(dear));
}

#[test]
fn loops_are_stopped() {
    stopped(&in_loop("", &in_loop("", "")));
    stopped(&in_loop("", &in_loop("", "x")));
    failed("{% for i in range(1000000000) %}{% endfor %}", "range");
}

#[test]
fn doubling_is_stopped() {
    for operator in ["~", "+"] {
        stopped(&in_loop(
            "{% set ns = namespace(x='aaaaaaaa') %}",
            &format!("{{% set ns.x = ns.x {operator} ns.x %}}"),
        ));
        let lines = format!("{{% set x = x {operator} x %}}").repeat(64);
        stopped(&format!("{{% set x = 'aaaaaaaa' %}}{lines}{{{{ x }}}}"));
    }
    let lists = "{% set x = x + x %}".repeat(64);
    stopped(&format!("{{% set x = [1, messages] %}}{lists}{{{{ x }}}}"));
    let captured = "{% set x %}{{ x }}{{ x }}{% endset %}".repeat(64);
    stopped(&format!("{{% set x = 'aaaaaaaa' %}}{captured}{{{{ x }}}}"));
}

#[test]
fn strings_that_blow_up_are_stopped_before_they_are_made() {
    let big = "{% set x = 'a' * 100000 %}";
    for blow_up in [
        "{{ x.replace('a', x) }}",
        "{{ x | replace('a', x) }}",
        "{{ x.join(x | list) }}",
        "{{ x | list | join(x) }}",
        "{{ ('{0}' * 100000).format(x) }}",
        "{{ ('%s' * 100)|format(x) }}",
        "{{ 'a' * 1000000000 }}",
        "{{ '%999999999d' | format(3) }}",
        "{{ [x] * 100000 }}",
        "{{ ([x] * 100000) | string }}",
        "{{ '' ~ ([x] * 100000) }}",
        "{{ ([x] * 100000) | tojson }}",
        "{% for c in x | list %}{{ x }}{% endfor %}",
    ] {
        assert!(
            matches!(
                outcome(&format!("{big}{blow_up}")),
                Err(TemplateError::OutOfBudget | TemplateError::Failed(_))
            ),
            "{blow_up}"
        );
    }
    failed("{{ '{:>999999999}'.format('x') }}", "only plain replacement fields");
    failed("{{ '%c'|format(1048576) }}", "%c is not supported");
}

#[test]
fn work_on_long_strings_is_paid_for() {
    for work in [
        "x.count('b')",
        "'b' in x",
        "x.isalnum()",
        "x.find('b')",
        "x.strip('a')",
        "x | length",
        "x[999999]",
        "x == z",
        "x < z",
        "x.split('a') | length",
        "x is eq(z)",
        "x | upper",
        "x[::-1]",
        "[x, z] | unique | list",
        "[x, z] | sort",
        "[x] | select('equalto', z) | list",
    ] {
        let of_length = |n: usize| format!("{{% set x = 'a' * {n} %}}{{% set z = 'a' * {n} %}}");
        paid_for(&of_length(10), &of_length(1_000_000), &format!("{{% set y = {work} %}}"));
    }
}

#[test]
fn lists_that_hold_lists_stay_small() {
    let grow = |what: &str| in_loop("{% set ns = namespace(x=[1]) %}", &format!("{{% set ns.x = {what} %}}"));
    for what in [
        "[ns.x]",
        "[ns.x, ns.x]",
        "{'a': ns.x, 'b': ns.x}",
        "(ns.x, ns.x)",
        "dict(a=ns.x, b=ns.x)",
        "ns.x + ns.x",
        "ns.x * 2",
        "ns.x[0:]",
        "ns.x | reverse | list",
        "ns.x | map('list')",
        "ns.x | map('default', ns.x)",
    ] {
        let outcome = outcome(&grow(what));
        assert!(
            matches!(outcome, Err(TemplateError::OutOfBudget | TemplateError::Failed(_))),
            "{what}: {outcome:?}"
        );
    }
    let twice = "{% set x = [x, x] %}{% set y = [y, y] %}".repeat(64);
    for consumer in ["{{ x }}", "{{ x == y }}", "{{ x | tojson }}", "{{ x ~ '' }}", "{{ x | length }}"] {
        stopped(&format!("{{% set x = ['a'] %}}{{% set y = ['a'] %}}{twice}{consumer}"));
    }
    failed("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "namespace cannot be put");
    failed("{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}", "namespace cannot be put");
    failed("{% set ns = namespace() %}{% set m = namespace(a=ns) %}", "namespace cannot be put");
}

#[test]
fn recursion_is_stopped() {
    stopped("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}");
    stopped("{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}");
    let tree = "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}";
    stopped(tree);
    stopped("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}");
}

#[test]
fn pythons_inner_life_is_not_there() {
    for source in [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.append('x') }}",
        "{{ self.__init__ }}{{ self.x() }}",
        "{{ debug() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
    ] {
        let outcome = outcome(source);
        assert!(
            matches!(outcome, Err(TemplateError::Failed(_) | TemplateError::Syntax(_))),
            "{source}: {outcome:?}"
        );
    }
}

#[test]
fn what_no_chat_template_needs_is_refused_by_name() {
    for (source, expected) in [
        ("{% autoescape true %}x{% endautoescape %}", "autoescape is not supported"),
        ("{% for i in [1] %}{{ loop.changed(i) }}{% endfor %}", "loop.changed is not supported"),
        ("{{ range(*[1]) }}", "* and ** in arguments are not supported"),
        ("{% filter map %}a{% endfilter %}", "filter map is not supported on a block"),
        ("{{ [1] in [[1]] }}", "can be looked for with `in`"),
        ("{% set ns = namespace() %}{% set ns.x = range %}", "cannot be put into a list, map or namespace"),
        ("{% set ns = namespace() %}{% set ns.x = [ns] %}", "a namespace cannot be put into another value"),
        ("{{ '{}'.format([1]) }}", "only strings and numbers are supported"),
        ("{{ '{x}'.format(x=[1]) }}", "only strings and numbers are supported"),
        ("{{ '{0:9}'.format(1) }}", "only plain replacement fields are supported"),
        ("{{ '{x!r}'.format(x=1) }}", "only plain replacement fields are supported"),
        ("{{ '%c' | format(65) }}", "%c is not supported"),
    ] {
        failed(source, expected);
    }
}

#[test]
fn what_is_compared_is_paid_for_by_all_that_it_holds() {
    for holder in
        ["range(N) | list", "dict(k=range(N) | list)", "namespace(k=range(N) | list)", "['x' * 10 * N]"]
    {
        let before = |n: &str| format!("{{% set a = {} %}}", holder.replace('N', n));
        paid_for(&before("2"), &before("2000"), "{% if a == a %}{% endif %}");
    }
}

#[test]
fn what_is_put_into_lists_is_paid_for() {
    for made in ["[s]", "{'a': s}", "{s: 1}", "dict(a=s)", "[[s]]"] {
        let before = |n: usize| format!("{{% set s = 'x' * {n} %}}");
        paid_for(&before(10), &before(100_000), &format!("{{% set a = {made} %}}"));
    }
}

#[test]
fn what_is_indexed_costs_a_step_for_every_64_bytes() {
    // Of 200,000 of fuel, a thousand rounds take 15 each, and then a thousand.
    paid_for("{% set x = 'a' * 1000 %}", "{% set x = 'a' * 64000 %}", "{% set y = x[5] %}");
}

#[test]
fn json_is_paid_for_as_it_is_written() {
    let (cheap, dear) = ("{% set a = ['x' * 10] %}", "{% set a = ['x' * 1000] * 1000 %}");
    paid_for(cheap, dear, "{% set b = a | tojson %}");
    paid_for(cheap, dear, "{% set b = a | tojson(indent=1) %}");
}

#[test]
fn guards_cannot_be_called_or_replaced() {
    failed("{% macro guard_held(x) %}{{ x }}{% endmacro %}{{ guard__held([1]) }}", "unknown function");
    stopped(&in_loop(
        "{% macro guard_held(x) %}{% endmacro %}{% set ns = namespace(x=[1]) %}",
        "{% set ns.x = [ns.x, ns.x] %}",
    ));
}

#[test]
fn nesting_in_the_source_is_limited() {
    let deep =
        |open: &str, n: usize, close: &str| format!("{{{{ {}1{} }}}}", open.repeat(n), close.repeat(n));
    for n in [100, 300, 1000, 5000, 14_000, 30_000] {
        for source in [
            deep("(", n, ")"),
            deep("[", n, "]"),
            deep("not ", n, ""),
            deep("-", n, ""),
            deep("", n, "|int"),
            deep("", n, "+1"),
            deep("", n, "**1"),
            deep("", n, " and messages"),
            deep("", n, "~messages"),
            deep("", n, " if messages else 1"),
            deep("", n, "[0]"),
            deep("", n, ".a"),
            deep("", n, " is odd"),
            deep("", n, " == messages"),
            format!("{}{}", "{% if 1 %}".repeat(n), "{% endif %}".repeat(n)),
            format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(n)),
            format!("{}{}", "{% for x in [1] %}".repeat(n), "{% endfor %}".repeat(n)),
            "{% macro m() %}".repeat(n),
            "{{ {".repeat(n),
            "{%".repeat(n),
            "{#".repeat(n),
        ] {
            // Refused, or run; not a stack overflow, which would end the process.
            if let Err(TemplateError::TooLarge { found, .. }) = outcome(&source) {
                assert!(found > 60_000);
            }
        }
    }
}

#[test]
fn a_line_as_long_as_the_engine_can_count_does_not_end_the_process() {
    for source in [
        "{#".repeat(30_000),
        "x".repeat(60_000),
        "\n".repeat(60_000),
        format!("{{{{ {} }}}}", "y".repeat(59_990)),
    ] {
        let _ = outcome(&source);
    }
    assert_eq!(outcome(&format!("{}{{{{ 1 }}}}", "\n".repeat(20_000))), Ok(1));
}

#[test]
fn sizes_are_limited() {
    let error = outcome(&"x".repeat(60_001)).unwrap_err();
    assert_eq!(error.to_string(), "the chat template has 60001 bytes, at most 60000 are accepted");
    // Quotes are escaped: the line is too long for the engine.
    failed(&"\"".repeat(60_000), "too large to be run");
    let template = ChatTemplate::new("{{ messages[0].content }}").unwrap();
    let long = "x".repeat((4 << 20) + 1);
    let error = template.render(&[turn("user", &long)], false, &tokenizer()).unwrap_err();
    assert_eq!(error.to_string(), "the conversation has 4194309 bytes, at most 4194304 are accepted");
    let most = "x".repeat((4 << 20) - 8);
    assert_eq!(template.render(&[turn("user", &most)], false, &tokenizer()).unwrap().len(), 1);
}

#[test]
fn long_conversations_fit_the_budget() {
    let template = ChatTemplate::new(&support::fixture("qwen2.5.jinja")).unwrap();
    let turns: Vec<_> = (0..4000).map(|n| turn(["user", "assistant"][n % 2], "A thousand turns.")).collect();
    assert_eq!(template.render(&turns, true, &tokenizer()).unwrap().len(), 4 * 4001 + 2);
    let long = turn("user", &"word ".repeat(800_000));
    assert_eq!(template.render(&[long], true, &tokenizer()).unwrap().len(), 10);
}
