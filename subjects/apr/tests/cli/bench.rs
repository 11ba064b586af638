//! `apr bench`: figures that hang together, and flags that change what is measured.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Place, n_threads_called};

fn measured(place: &Place, flags: &[&str]) -> Value {
    let mut args = vec!["bench", "model.apr", "--decode", "4", "--repeats", "2", "--json"];
    args.extend(flags);
    serde_json::from_str(&place.stdout(args)).unwrap()
}

fn prompts(report: &Value) -> Vec<u64> {
    let points = report["points"].as_array().unwrap();
    points.iter().map(|point| point["prompt_tokens"].as_u64().unwrap()).collect()
}

#[test]
fn bench_measures_every_length_and_its_figures_hang_together() {
    let place = Place::new();
    let report = measured(&place, &["--prompt", "8,100"]);
    assert_eq!(prompts(&report), [8, 100]);
    assert_eq!(report["file_bytes"], place.path("model.apr").metadata().unwrap().len());
    let limits = &report["limits"];
    assert!(limits["weight_bytes"].as_u64() < report["file_bytes"].as_u64());
    assert_eq!(limits["is_integer"], false);
    for point in report["points"].as_array().unwrap() {
        let spread = |name: &str| {
            let value = |what: &str| point[name][what].as_f64().unwrap();
            let (least, median, most) = (value("least"), value("median"), value("most"));
            assert!(0.0 < least && least <= median && median <= most, "{name}: {point}");
            (least, most)
        };
        let (slowest, fastest) = spread("prefill_tokens_per_second");
        let (soonest, latest) = spread("first_token_seconds");
        let n = point["prompt_tokens"].as_f64().unwrap();
        assert!((n / slowest - latest).abs() < 1e-9 && (n / fastest - soonest).abs() < 1e-9, "{point}");
        spread("decode_tokens_per_second");
        spread("arithmetic_share");
    }
}

#[test]
fn bench_does_what_its_flags_say() {
    let place = Place::new();
    let report = measured(&place, &["--prompt", "3", "--threads", "2"]);
    assert_eq!(
        (&report["threads"], &report["decoded_tokens"], &report["repeats"]),
        (&2.into(), &4.into(), &2.into())
    );
    assert_eq!(prompts(&report), [3]);
    assert_eq!(measured(&place, &["--prompt", "3", "--threads", "1"])["threads"], 1);
    let refused = |args: &[&str]| {
        let output = place.apr().args(args).output().unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for args in [["--prompt", "0"], ["--decode", "0"], ["--repeats", "0"], ["--load", "floppy"]] {
        assert_eq!(refused(&["bench", "model.apr", args[0], args[1]]).0, Some(2), "{args:?}");
    }
    // The small model takes 512 positions.
    let (code, said) = refused(&["bench", "model.apr", "--prompt", "512"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("576") && said.contains("512"), "{said}");
}

#[test]
fn bench_reads_weights_where_it_is_told_to() {
    let place = Place::new();
    let is_mapped = |load: &str| {
        // Long enough to be looked at while it measures. The team is there once the weights are where they stay.
        let args =
            ["bench", "model.apr", "--repeats", "1000", "--prompt", "400", "--threads", "2", "--load", load];
        let mut child =
            place.command().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while n_threads_called(child.id(), "team-") == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        maps.contains("model.apr")
    };
    assert!(is_mapped("mapped") && !is_mapped("memory") && !is_mapped("auto"));
    for load in ["mapped", "memory", "auto"] {
        place.apr().args(["bench", "missing.apr", "--load", load]).assert().code(1);
    }
}

#[test]
fn bench_prints_a_table_for_people() {
    let place = Place::new();
    let text = place.stdout(["bench", "model.apr", "--prompt", "5,9", "--decode", "2", "--repeats", "1"]);
    for line in ["Model: model.apr, ", "Machine: ", "Load: ", "Peak memory: "] {
        assert!(text.lines().any(|other| other.starts_with(line)), "{line}: {text}");
    }
    let rows: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(rows.contains(&"5") && rows.contains(&"9"), "{text}");
}
