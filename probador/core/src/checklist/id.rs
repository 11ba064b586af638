//! Sections and claim ids: what a row of the checklist is known by, forever.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// One of the ten sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// Model loading.
    A,
    /// Tokenization.
    B,
    /// Forward pass.
    C,
    /// Generation and quality.
    D,
    /// Visual control and inspection.
    E,
    /// WebAssembly.
    F,
    /// Code quality.
    G,
    /// Full lifecycle.
    H,
    /// Deep testing.
    I,
    /// Deep profiling.
    J,
}

/// What the brief fixes about a section: its letter, title, part of case names, points and number of rows.
struct Facts {
    letter: char,
    title: &'static str,
    slug: &'static str,
    n_points: u32,
    n_claims: u8,
}

impl Section {
    /// All of them, in order.
    pub const ALL: [Self; 10] =
        [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F, Self::G, Self::H, Self::I, Self::J];

    const fn facts(self) -> Facts {
        let (letter, title, slug, n_points, n_claims) = match self {
            Self::A => ('A', "Model loading", "a_model_loading", 10, 6),
            Self::B => ('B', "Tokenization", "b_tokenization", 10, 5),
            Self::C => ('C', "Forward pass", "c_forward_pass", 25, 8),
            Self::D => ('D', "Generation and quality", "d_generation", 20, 5),
            Self::E => ('E', "Visual control and inspection", "e_visual_control", 15, 4),
            Self::F => ('F', "WebAssembly", "f_wasm", 10, 10),
            Self::G => ('G', "Code quality", "g_code_quality", 15, 10),
            Self::H => ('H', "Full lifecycle", "h_full_lifecycle", 25, 25),
            Self::I => ('I', "Deep testing", "i_deep_testing", 25, 20),
            Self::J => ('J', "Deep profiling", "j_deep_profiling", 25, 25),
        };
        Facts { letter, title, slug, n_points, n_claims }
    }

    /// `C`.
    pub const fn letter(self) -> char {
        self.facts().letter
    }

    /// `Forward pass`.
    pub const fn title(self) -> &'static str {
        self.facts().title
    }

    /// `c_forward_pass`: the section's part of a case name.
    pub const fn slug(self) -> &'static str {
        self.facts().slug
    }

    /// Points of the section's claims together.
    pub const fn n_points(self) -> u32 {
        self.facts().n_points
    }

    /// Number of rows, unscored ones included.
    pub const fn n_claims(self) -> u8 {
        self.facts().n_claims
    }
}

impl FromStr for Section {
    type Err = UnknownClaim;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|section| text.eq_ignore_ascii_case(section.letter().encode_utf8(&mut [0; 4])))
            .ok_or_else(|| UnknownClaim(text.to_owned()))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// The permanent id of a claim: a section's letter and a number from 1, such as `C4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClaimId {
    /// The section.
    pub section: Section,
    /// Counts from 1 inside the section.
    pub number: u8,
}

/// A text that names no section or claim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a section (A to J) or claim id such as `C4`")]
pub struct UnknownClaim(pub String);

impl FromStr for ClaimId {
    type Err = UnknownClaim;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownClaim(text.to_owned());
        let (letter, digits) = text.split_at_checked(1).ok_or_else(unknown)?;
        let section: Section = letter.parse().map_err(|_| unknown())?;
        if !digits.starts_with(|first: char| ('1'..='9').contains(&first)) {
            return Err(unknown());
        }
        let number = digits.parse().map_err(|_| unknown())?;
        if number > section.n_claims() {
            return Err(unknown());
        }
        Ok(Self { section, number })
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}{}", self.section, self.number))
    }
}

impl TryFrom<String> for ClaimId {
    type Error = UnknownClaim;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ClaimId> for String {
    fn from(id: ClaimId) -> Self {
        id.to_string()
    }
}

impl JsonSchema for ClaimId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClaimId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-J][1-9][0-9]?$", "description": "permanent id of a claim, such as `C4`" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_being_written_and_read() {
        for section in Section::ALL {
            for number in 1..=section.n_claims() {
                let id = ClaimId { section, number };
                assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
    }

    #[test]
    fn what_is_not_a_claim_is_refused() {
        for text in ["", "C", "C0", "C04", "C9", "K1", "C4 ", "4C", "é1", "C-1", "C+1", "H256"] {
            assert_eq!(text.parse::<ClaimId>(), Err(UnknownClaim(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_section_is_known_by_its_letter_in_either_case() {
        for section in Section::ALL {
            let letter = section.to_string();
            assert_eq!(letter.parse(), Ok(section));
            assert_eq!(letter.to_ascii_lowercase().parse(), Ok(section));
            assert!(
                section.slug().starts_with(&format!("{}_", letter.to_ascii_lowercase())),
                "{}",
                section.slug()
            );
        }
        assert_eq!("K".parse::<Section>(), Err(UnknownClaim("K".to_owned())));
        assert_eq!((Section::C.letter(), Section::C.title()), ('C', "Forward pass"));
        assert_eq!(Section::J.title(), "Deep profiling");
    }

    #[test]
    fn an_id_is_written_in_json_as_people_write_it_and_keeps_its_column() {
        let id: ClaimId = "H7".parse().unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""H7""#);
        assert_eq!(serde_json::from_str::<ClaimId>(r#""H7""#).unwrap(), id);
        assert!(serde_json::from_str::<ClaimId>(r#""H26""#).is_err());
        assert_eq!(format!("{id:>4}|{id:<3}|"), "  H7|H7 |");
        assert_eq!(
            UnknownClaim("Z9".to_owned()).to_string(),
            "`Z9` is not a section (A to J) or claim id such as `C4`"
        );
    }

    #[test]
    fn sections_add_up_to_the_specifications_summary() {
        assert_eq!(Section::ALL.iter().map(|section| section.n_points()).sum::<u32>(), 180);
        assert_eq!(Section::ALL.iter().map(|section| u32::from(section.n_claims())).sum::<u32>(), 118);
    }
}
