//! Faults in what a program shows: its output, altered on the way to the check.

use serde_json::Value;

/// What a program showed for what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Which command, `chat --inspect`.
    pub command: String,
    /// What it showed.
    pub text: String,
    /// Its exit code.
    pub code: i32,
}

/// The page that `report` wrote, altered; what other commands show is left alone.
fn page(reply: Reply, alter: fn(&str) -> Option<String>) -> Reply {
    if reply.command != "report" {
        return reply;
    }
    let text = alter(&reply.text).unwrap_or(reply.text);
    Reply { text, ..reply }
}

/// The alteration of the fault `name`.
pub(super) fn find(name: &str) -> Option<fn(Reply) -> Reply> {
    Some(match name {
        "page-lacks-a-claim" => |reply| {
            page(reply, |page| {
                // The body of a claim's details has an id; those of other tables have none.
                let first = page.find("<div class=\"body\" id=\"")?;
                let (before, rest) = (&page[..page[..first].rfind("<details")?], &page[first..]);
                Some(format!("{before}{}", rest.split_once("</details>")?.1))
            })
        },
        "page-lacks-the-score" => |reply| page(reply, |page| Some(page.replace("of 180 points", ""))),
        "report-fails" => |reply| {
            let code = if reply.command == "report" { 3 } else { reply.code };
            Reply { code, ..reply }
        },
        "candidates-cut" => {
            |reply| by_line(reply, |line| (!is_candidate(line) || rank(line) <= 2).then(|| line.to_owned()))
        }
        "probabilities-canned" => |reply| {
            by_line(reply, |line| {
                if !is_candidate(line) {
                    return Some(line.to_owned());
                }
                let canned = ["0.9800", "0.0100", "0.0050", "0.0030", "0.0020"][(rank(line) - 1).min(4)];
                let (before, after) = line.rsplit_once(") [")?;
                let (before, _) = before.rsplit_once('(')?;
                Some(format!("{before}({canned}) [{after}"))
            })
        },
        "heatmap-missing" => |reply| {
            by_line(reply, |line| {
                (!line.starts_with('|') && !line.contains("Attention: layer")).then(|| line.to_owned())
            })
        },
        "heatmap-canned" => |reply| {
            by_line(reply, |line| {
                let Some(rest) = line.strip_prefix('|').and_then(|rest| rest.split_once('|')) else {
                    return Some(line.to_owned());
                };
                Some(format!(
                    "|@{}| {} \"x\" 80%",
                    " ".repeat(rest.0.chars().count().saturating_sub(1)),
                    "<-"
                ))
            })
        },
        "token-rate-frozen" => {
            |reply| figures(reply, |figures| replaced(figures, "[Stats: ", " tok/s", "24.1"))
        }
        "memory-misreported" => |reply| {
            figures(reply, |figures| {
                let shown = figures
                    .split("Mem: ")
                    .nth(1)
                    .and_then(|rest| rest.split("MB").next()?.parse::<u64>().ok());
                let less = shown.unwrap_or(100) * 3 / 4;
                replaced(figures, "Mem: ", "MB", &less.to_string())
            })
        },
        "parameters-misreported" => |reply| {
            let is_json = reply.text.trim_start().starts_with('{');
            if is_json {
                return edited(reply, |report| {
                    if let Some(n) = report["n_parameters"].as_u64() {
                        report["n_parameters"] = (n / 10).into();
                    }
                });
            }
            by_line(reply, |line| {
                Some(if line.starts_with("Parameters:") {
                    "Parameters: 1".to_owned()
                } else {
                    line.to_owned()
                })
            })
        },
        "validate-accepts-anything" => |reply| Reply { code: 0, ..reply },
        "statistics-zeroed" => |reply| {
            edited(reply, |rows| {
                for row in rows.as_array_mut().into_iter().flatten() {
                    row["stats"]["mean"] = 0.0.into();
                    row["stats"]["std"] = 0.0.into();
                }
            })
        },
        "bench-inflated" => |reply| rates(reply, |rate| 10.0 * rate),
        "bench-slow" => |reply| rates(reply, |_| 0.4),
        "perplexity-canned" => |reply| {
            edited(reply, |report| {
                if report["perplexity"].is_object() {
                    report["perplexity"]["value"] = 12.5.into();
                }
            })
        },
        "canary-blames-the-model" => |reply| {
            edited(reply, |report| {
                if report["tokenizer_changed"] == true {
                    report["tokenizer_changed"] = false.into();
                    report["model_changed"] = true.into();
                }
            })
        },
        "reply-canned" => |reply| Reply { text: "The answer is 4.\n".to_owned(), ..reply },
        "reply-empty" => |reply| Reply { text: "\n".to_owned(), ..reply },
        _ => return None,
    })
}

/// Maps every line; `None` drops it.
fn by_line(reply: Reply, map: impl Fn(&str) -> Option<String>) -> Reply {
    let lines: Vec<String> = reply.text.lines().filter_map(map).collect();
    Reply { text: lines.join("\n") + "\n", ..reply }
}

fn is_candidate(line: &str) -> bool {
    line.starts_with("  ") && rank(line) > 0 && line.ends_with(']')
}

/// The number before the first point, 0 when there is none.
fn rank(line: &str) -> usize {
    line.trim_start().split_once(". ").and_then(|(rank, _)| rank.parse().ok()).unwrap_or(0)
}

/// Maps the line of figures.
fn figures(reply: Reply, map: impl Fn(&str) -> String) -> Reply {
    by_line(reply, |line| Some(if line.contains("[Stats: ") { map(line) } else { line.to_owned() }))
}

/// `text` with what stands between `from` and `to` replaced.
fn replaced(text: &str, from: &str, to: &str, by: &str) -> String {
    let Some((before, rest)) = text.split_once(from) else { return text.to_owned() };
    let Some((_, after)) = rest.split_once(to) else { return text.to_owned() };
    format!("{before}{from}{by}{to}{after}")
}

/// Maps the rates that a benchmark prints.
fn rates(reply: Reply, map: impl Fn(f64) -> f64) -> Reply {
    edited(reply, |report| {
        for point in report["points"].as_array_mut().into_iter().flatten() {
            for name in ["prefill_tokens_per_second", "decode_tokens_per_second"] {
                let rate = point[name]["median"].as_f64().unwrap_or_default();
                point[name]["median"] = map(rate).into();
            }
        }
    })
}

/// Edits JSON; what is not JSON stays as it is.
fn edited(reply: Reply, edit: impl Fn(&mut Value)) -> Reply {
    match serde_json::from_str::<Value>(&reply.text) {
        Err(_) => reply,
        Ok(mut value) => {
            edit(&mut value);
            Reply { text: value.to_string(), ..reply }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the fault `name` makes of `text`, shown by `command`, and of its exit code.
    fn altered(name: &str, command: &str, text: &str) -> (String, i32) {
        let reply = Reply { command: command.to_owned(), text: text.to_owned(), code: 0 };
        let altered = find(name).unwrap()(reply);
        (altered.text, altered.code)
    }

    #[test]
    fn only_the_page_of_a_report_is_altered() {
        let page = "<details><div class=\"body\" id=\"A1\">x</div></details>1 of 180 points";
        for name in ["page-lacks-a-claim", "page-lacks-the-score", "report-fails"] {
            assert_eq!(altered(name, "chat --inspect", page), (page.to_owned(), 0), "{name}");
        }
        assert_eq!(altered("page-lacks-a-claim", "report", page).0, "1 of 180 points");
        assert_eq!(altered("page-lacks-a-claim", "report", "no claim"), ("no claim".to_owned(), 0));
        assert!(altered("page-lacks-the-score", "report", page).0.ends_with("</details>1 "));
        assert_eq!(altered("report-fails", "report", page), (page.to_owned(), 3));
    }

    #[test]
    fn candidates_are_cut_and_canned_and_other_lines_stay() {
        let shown = "step 1: \"a\" [7]\n  1. \"a\" (0.5000) [7]\n  2. \"b\" (0.2000) [8]\n  3. \"c\" (0.1000) [9]\n  4. not one\n";
        assert_eq!(
            altered("candidates-cut", "chat", shown).0,
            "step 1: \"a\" [7]\n  1. \"a\" (0.5000) [7]\n  2. \"b\" (0.2000) [8]\n  4. not one\n"
        );
        assert_eq!(
            altered("probabilities-canned", "chat", shown).0,
            "step 1: \"a\" [7]\n  1. \"a\" (0.9800) [7]\n  2. \"b\" (0.0100) [8]\n  3. \"c\" (0.0050) [9]\n  4. not one\n"
        );
    }

    #[test]
    fn figures_are_replaced_where_they_are_shown() {
        #[track_caller]
        fn check(name: &str, shown: &str, expected: &str) {
            assert_eq!(altered(name, "chat", shown).0, format!("{expected}\n"));
        }
        let stats = "[Stats: 31.2 tok/s | PPL: 1.20 | Mem: 340MB]";
        check("token-rate-frozen", stats, "[Stats: 24.1 tok/s | PPL: 1.20 | Mem: 340MB]");
        check("token-rate-frozen", "[Stats: none]", "[Stats: none]");
        check("memory-misreported", stats, "[Stats: 31.2 tok/s | PPL: 1.20 | Mem: 255MB]");
        check("memory-misreported", "[Stats: - | Mem: -]", "[Stats: - | Mem: -]");
        check("memory-misreported", "[Stats: -]", "[Stats: -]");
        check("parameters-misreported", "Layers: 6\nParameters: 3.15M", "Layers: 6\nParameters: 1");
    }

    #[test]
    fn json_is_edited_and_what_is_none_stays() {
        #[track_caller]
        fn check(name: &str, shown: &str, expected: &str) {
            assert_eq!(altered(name, "inspect", shown).0, expected);
        }
        check("parameters-misreported", r#"{"n_parameters":3150}"#, r#"{"n_parameters":315}"#);
        check("parameters-misreported", r#"{"n_layers":6}"#, r#"{"n_layers":6}"#);
        check("parameters-misreported", "{broken", "{broken");
        check(
            "statistics-zeroed",
            r#"[{"stats":{"mean":1.5,"std":2.0}}]"#,
            r#"[{"stats":{"mean":0.0,"std":0.0}}]"#,
        );
        check("statistics-zeroed", "no JSON", "no JSON");
    }

    #[test]
    fn figures_in_json_are_altered_and_other_output_stays() {
        let altered = |name: &str, shown: &str| altered(name, "apr", shown).0;
        let point = r#"{"points":[{"decode_tokens_per_second":{"median":3.0},"prefill_tokens_per_second":{"median":5.0}}]}"#;
        assert!(altered("bench-inflated", point).contains(r#"{"median":30.0}"#));
        assert_eq!(altered("bench-slow", point).matches("0.4").count(), 2);
        assert_eq!(altered("bench-slow", "Model: m\n"), "Model: m\n");
        let canned = altered("perplexity-canned", r#"{"perplexity":{"value":31.8}}"#);
        assert_eq!(canned, r#"{"perplexity":{"value":12.5}}"#);
        assert_eq!(altered("perplexity-canned", r#"{"x":1}"#), r#"{"x":1}"#);
        let blamed =
            altered("canary-blames-the-model", r#"{"model_changed":false,"tokenizer_changed":true}"#);
        assert_eq!(blamed, r#"{"model_changed":true,"tokenizer_changed":false}"#);
        let same = r#"{"model_changed":true,"tokenizer_changed":false}"#;
        assert_eq!(altered("canary-blames-the-model", same), same);
    }

    #[test]
    fn a_fault_that_is_no_screens_is_none() {
        assert!(find("rope-theta-changed").is_none());
    }
}
