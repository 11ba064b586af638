//! Results of slow tools are kept in `checklist/`, dated: none may be much older than the commit that relies on
//! it. The weekly workflow makes them anew.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

const DAY: i64 = 24 * 60 * 60;
/// Two runs of the weekly workflow and a day.
const FRESH: i64 = 15 * DAY;

/// The stored results there have to be, and what makes each.
const STORED: [(&str, &str); 1] = [("checklist/fuzz.json", "make fuzz SECONDS=600")];

/// One stored result; the rest of the file belongs to its tool.
#[derive(Deserialize)]
struct Stored {
    /// When it was made, seconds since 1970.
    made_at: i64,
}

/// What is wrong with a stored result at a commit of the time `commit`.
fn fault(name: &str, remedy: &str, text: &str, commit: i64) -> Option<String> {
    match serde_json::from_str::<Stored>(text) {
        Err(error) => Some(format!("{name}: {error}; run `{remedy}`")),
        Ok(Stored { made_at }) if commit - made_at > FRESH => Some(format!(
            "{name}: {} days older than the commit, {} are allowed; run `{remedy}`",
            (commit - made_at) / DAY,
            FRESH / DAY
        )),
        Ok(_) => None,
    }
}

#[test]
fn stored_results_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut git = Command::new("git");
    let output = git.args(["log", "-1", "--format=%ct"]).current_dir(root).output();
    let time = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok());
    // In a tree without git, the day it is tested.
    let today = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let commit = time.unwrap_or_else(today);
    let faults: Vec<String> = STORED
        .iter()
        .filter_map(|(name, remedy)| {
            let text = std::fs::read_to_string(root.join(name)).unwrap_or_default();
            fault(name, remedy, &text, commit)
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_missing_and_an_old_result_are_found() {
    let check = |text: &str, commit: i64| fault("f.json", "make f", text, commit);
    assert!(check("", 0).unwrap().contains("run `make f`"));
    let made = r#"{"made_at": 1000, "targets": {}}"#;
    assert_eq!(check(made, 1000 + FRESH), None);
    assert!(check(made, 1000 + FRESH + DAY).unwrap().contains("16 days older"));
}
