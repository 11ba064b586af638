//! Waivers: dated, reasoned exceptions for claims that a machine cannot test; shown, never scored.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Checklist, ClaimId, Need, SourceText};
use crate::yaml::{Fields, FromNode, Node, Problem, Problems, Value, parse};

/// An exception: this claim may stay undecided at the gate, for this reason, until this day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Waiver {
    /// The claim.
    pub claim: ClaimId,
    /// Why this machine cannot decide it.
    pub reason: String,
    /// The day it was granted.
    pub granted: Date,
    /// The last day it holds.
    pub until: Date,
    /// The line it starts in.
    #[schemars(skip)]
    pub line: u64,
}

/// A day of the calendar, `2026-11-22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// A day, if there is such a one.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let n_days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(is_leap),
            _ => return None,
        };
        (1..=n_days).contains(&day).then_some(Self { year, month, day })
    }

    /// The day of a number of seconds since 1970, in UTC (Hinnant's days-to-civil).
    pub fn of_unix_seconds(seconds: u64) -> Self {
        let days = (seconds / 86_400) as i64 + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u8;
        let year = (year_of_era + era * 400 + i64::from(month <= 2)) as u16;
        Self { year, month, day }
    }
}

impl std::str::FromStr for Date {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '-');
        let mut next = |n_digits: usize| {
            let part = parts.next().filter(|part| part.len() == n_digits).ok_or(())?;
            if part.bytes().all(|byte| byte.is_ascii_digit()) {
                part.parse::<u16>().map_err(|_| ())
            } else {
                Err(())
            }
        };
        let (year, month, day) = (next(4)?, next(2)?, next(2)?);
        Self::new(year, month as u8, day as u8).ok_or(())
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl<'de> serde::Deserialize<'de> for Date {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom(format!("`{text}` is not a day")))
    }
}

impl Serialize for Date {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Date {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Date".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "description": "a day, such as 2026-11-22" })
    }
}

impl FromNode for Date {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = String::from_node(node, problems)?;
        text.parse()
            .map_err(|()| problems.add(node.at, format!("`{text}` is not a day such as `2026-11-22`")))
            .ok()
    }
}

impl FromNode for Waiver {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a waiver", problems)?;
        let at = fields.at();
        let claim = fields.required("claim", problems);
        let reason = fields.required::<String>("reason", problems);
        let granted = fields.required("granted", problems);
        let until = fields.required("until", problems);
        fields.finish(problems);
        let waiver = Self { claim: claim?, reason: reason?, granted: granted?, until: until?, line: at.line };
        if waiver.reason.trim().is_empty() {
            problems.add(at, format!("the waiver of {} gives no reason", waiver.claim));
        }
        if waiver.until < waiver.granted {
            problems.add(at, format!("the waiver of {} ends before it was granted", waiver.claim));
        }
        Some(waiver)
    }
}

/// Whether a claim waits for hardware that a machine may lack; only such claims may be waived.
fn waits_for_hardware(needs: &[Need]) -> bool {
    needs.iter().any(|need| matches!(need, Need::Rapl | Need::WallMeter))
}

/// Reads the waivers file; an unknown claim, one waived twice or one that no hardware excuses is a problem.
pub fn load_waivers(source: &SourceText, checklist: &Checklist) -> Result<Vec<Waiver>, Vec<Problem>> {
    let mut problems = Problems::new(&source.file);
    let mut waivers: Vec<Waiver> = Vec::new();
    match parse(&source.file, &source.text) {
        Err(problem) => problems.add(problem.at, problem.what),
        Ok(Node { value: Value::Null, .. }) => {}
        Ok(Node { value: Value::Seq(items), .. }) => {
            for node in &items {
                let Some(waiver) = Waiver::from_node(node, &mut problems) else { continue };
                if waivers.iter().any(|earlier| earlier.claim == waiver.claim) {
                    problems.add(node.at, format!("{} is waived twice", waiver.claim));
                }
                if checklist.claim(waiver.claim).is_some_and(|claim| !waits_for_hardware(&claim.needs)) {
                    problems.add(
                        node.at,
                        format!("{} cannot be waived: only claims that wait for hardware can", waiver.claim),
                    );
                }
                waivers.push(waiver);
            }
        }
        Ok(node) => problems.add(node.at, format!("expected a list of waivers, found {}", node.value.kind())),
    }
    let problems = problems.into_vec();
    if problems.is_empty() { Ok(waivers) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_of_the_calendar_are_days() {
        for text in ["2026-11-22", "2024-02-29", "2000-02-29", "2026-04-30", "2026-12-31"] {
            assert_eq!(text.parse::<Date>().unwrap().to_string(), text);
        }
        for text in [
            "2026-02-29",
            "1900-02-29",
            "2026-04-31",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "2026-1-01",
            "2026-01-1",
            "202a-01-01",
            "+026-01-01",
            "2026-01",
            "2026-01-01-",
            "",
            "today",
        ] {
            assert_eq!(text.parse::<Date>(), Err(()), "{text}");
        }
    }

    #[test]
    fn seconds_since_1970_are_days_in_utc() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (86_400, "1970-01-02"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Date::of_unix_seconds(seconds).to_string(), expected, "{seconds}");
        }
    }

    #[test]
    fn a_waiver_is_written_as_it_is_read() {
        let waiver = Waiver {
            claim: "J16".parse().unwrap(),
            reason: "no counters".to_owned(),
            granted: Date::new(2026, 11, 22).unwrap(),
            until: Date::new(2027, 1, 2).unwrap(),
            line: 1,
        };
        let json = serde_json::to_value(&waiver).unwrap();
        assert_eq!(
            (json["granted"].as_str(), json["until"].as_str()),
            (Some("2026-11-22"), Some("2027-01-02"))
        );
        assert!(waiver.granted < waiver.until);
        assert_eq!(serde_json::from_value::<Date>(json["granted"].clone()).unwrap(), waiver.granted);
        let error = serde_json::from_str::<Date>("\"2026-02-30\"").unwrap_err().to_string();
        assert!(error.starts_with("`2026-02-30` is not a day"), "{error}");
        assert!(serde_json::from_str::<Date>("7").is_err());
    }
}
