//! Whether an attestation holds: signed by a trusted key, of this report, of the files that are here.

use apr_format::{PublicKey, TrustedKeys};

use super::{Signed, SignedBy, Statement};
use crate::report::{InputFile, Report, Role};

/// Why an attestation is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not one.
    #[error("it is not an attestation: {0}")]
    Malformed(String),
    /// Nobody signed it.
    #[error(
        "nobody signed it\nhint: `cargo probador attest create --key KEY` signs; --unsigned accepts it for its hashes alone"
    )]
    Unsigned,
    /// No signature in it is one over what it holds.
    #[error("its signature is not one over what it says: either has been changed")]
    BadSignature,
    /// It is signed with a key that nobody here trusts.
    #[error(
        "it is signed with {0}, which is not trusted\nhint: --trusted-keys FILE, a line with the key and a name"
    )]
    Untrusted(Box<PublicKey>),
    /// It is of another report.
    #[error("the report is not the one that was attested: SHA-256 {found}, attested {attested}")]
    OtherReport {
        /// As found.
        found: String,
        /// As attested.
        attested: String,
    },
    /// It does not say what its report says.
    #[error("it does not say what the report says")]
    OtherWords,
    /// A file is not the one that was attested.
    #[error("{role} `{name}` is not the one that was attested: SHA-256 {found}, attested {attested}")]
    OtherFile {
        /// What it is to the run.
        role: &'static str,
        /// Its name.
        name: String,
        /// As found; `absent` where there is none.
        found: String,
        /// As attested; `none` where it names none.
        attested: String,
    },
    /// It names no file of a role that it is to be held to.
    #[error("it names no {0} to hold what is here to")]
    Nothing(&'static str),
    /// The run did not pass, and it had to.
    #[error("the run it attests is {0}, not PASSED")]
    NotPassed(&'static str),
}

/// What an attestation is held to.
pub struct Demands<'d> {
    /// Keys whose signatures count.
    pub trusted: &'d TrustedKeys,
    /// Whether one that nobody signed is accepted for its hashes.
    pub accepts_unsigned: bool,
    /// Whether the gate must have been open.
    pub requires_pass: bool,
    /// The roles whose files must be those attested.
    pub roles: &'d [Role],
}

/// What an accepted attestation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    /// The statement.
    pub statement: Statement,
    /// Who signed it.
    pub by: SignedBy,
    /// Files that were found to be those attested, the report aside.
    pub n_files: usize,
}

/// Holds `attestation` to the report that is here and to the files that are here; every reason to refuse it.
pub fn verify(
    attestation: &[u8],
    report: (&Report, &[u8]),
    here: &[InputFile],
    demands: &Demands<'_>,
) -> Result<Attested, Vec<Refusal>> {
    let Signed { statement, by } =
        Signed::read(attestation, demands.trusted).map_err(|refusal| vec![refusal])?;
    let mut refusals = Vec::new();
    if by == SignedBy::Nobody && !demands.accepts_unsigned {
        refusals.push(Refusal::Unsigned);
    }
    let expected = Statement::of(report.0, report.1);
    let digest = |statement: &Statement| statement.report_sha256().unwrap_or("none").to_owned();
    let (found, attested) = (digest(&expected), digest(&statement));
    if found != attested {
        refusals.push(Refusal::OtherReport { found, attested });
    } else if statement != expected {
        refusals.push(Refusal::OtherWords);
    }
    if demands.requires_pass && statement.result() != super::TestResult::Passed {
        refusals.push(Refusal::NotPassed(statement.result().word()));
    }
    let mut n_files = 0;
    for &role in demands.roles {
        let others = differences(&statement, here, role);
        if others.is_empty() {
            n_files += statement.with_role(role).count();
        }
        refusals.extend(others);
    }
    if refusals.is_empty() { Ok(Attested { statement, by, n_files }) } else { Err(refusals) }
}

/// How the files of a role that are here differ from those attested. A model or an executable goes by its role, since it
/// may be called otherwise here; the others by their names.
fn differences(statement: &Statement, here: &[InputFile], role: Role) -> Vec<Refusal> {
    let goes_by_name = matches!(role, Role::Checklist | Role::Golden);
    let of_role = || here.iter().filter(move |file| file.role == role);
    let other = |name: &str, found: &str, attested: &str| Refusal::OtherFile {
        role: role.word(),
        name: name.to_owned(),
        found: found.to_owned(),
        attested: attested.to_owned(),
    };
    let mut refusals = Vec::new();
    for resource in statement.with_role(role) {
        let file = of_role().find(|file| !goes_by_name || file.name == resource.name());
        match file {
            None => refusals.push(other(resource.name(), "absent", resource.sha256())),
            Some(file) if file.sha256 != resource.sha256() => {
                refusals.push(other(&file.name, &file.sha256, resource.sha256()));
            }
            Some(_) => {}
        }
    }
    let is_attested =
        |file: &&InputFile| statement.with_role(role).any(|resource| resource.name() == file.name);
    if goes_by_name {
        let unknown = of_role().filter(|file| !is_attested(file));
        refusals.extend(unknown.map(|file| other(&file.name, &file.sha256, "none")));
    }
    // A run that judged no `apr`, say, attests none; it must not be taken for one that did.
    if statement.with_role(role).next().is_none() && refusals.is_empty() && of_role().next().is_some() {
        refusals.push(Refusal::Nothing(role.word()));
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::super::Envelope;
    use super::*;
    use crate::report::sample;

    const ALL: [Role; 5] = [Role::Model, Role::Apr, Role::Engine, Role::Checklist, Role::Golden];

    struct World {
        report: Report,
        bytes: Vec<u8>,
        attestation: Vec<u8>,
        here: Vec<InputFile>,
        trusted: TrustedKeys,
        accepts_unsigned: bool,
        requires_pass: bool,
        roles: Vec<Role>,
    }

    /// A report of five files, signed and all of it here.
    fn world() -> World {
        let mut report = sample::all_passing();
        let file = |role: Role, name: &str, digit: &str| InputFile {
            role,
            name: name.to_owned(),
            sha256: digit.repeat(64),
        };
        report.inputs = vec![
            file(Role::Model, "tiny.apr", "1"),
            file(Role::Apr, "apr", "2"),
            file(Role::Engine, "cargo-probador", "3"),
            file(Role::Checklist, "checklist/a.yaml", "4"),
            file(Role::Golden, "golden/tiny/manifest.yaml", "5"),
        ];
        let bytes = serde_json::to_vec(&report).unwrap();
        let key = apr_format::sign::generate_key().unwrap();
        let mut trusted = TrustedKeys::default();
        trusted.trust(key.public_key(), "release");
        let envelope = Envelope::seal(&Statement::of(&report, &bytes), &key).unwrap();
        World {
            here: report.inputs.clone(),
            report,
            bytes,
            attestation: envelope.to_json().unwrap().into_bytes(),
            trusted,
            accepts_unsigned: false,
            requires_pass: true,
            roles: ALL.to_vec(),
        }
    }

    fn judged(spoil: impl FnOnce(&mut World)) -> Result<Attested, Vec<Refusal>> {
        let mut world = world();
        spoil(&mut world);
        let demands = Demands {
            trusted: &world.trusted,
            accepts_unsigned: world.accepts_unsigned,
            requires_pass: world.requires_pass,
            roles: &world.roles,
        };
        verify(&world.attestation, (&world.report, &world.bytes), &world.here, &demands)
    }

    #[track_caller]
    fn refused(spoil: impl FnOnce(&mut World), words: &str) {
        let refusals = judged(spoil).expect_err("accepted");
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert!(refusals[0].to_string().contains(words), "{}", refusals[0]);
    }

    #[test]
    fn what_was_attested_and_is_here_is_accepted() {
        let attested = judged(|_| {}).unwrap();
        assert_eq!(attested.n_files, 5);
        assert!(matches!(attested.by, SignedBy::Trusted { name, .. } if name == "release"));
    }

    #[test]
    fn an_attestation_that_nobody_signed_is_accepted_on_demand_only() {
        let unsign = |world: &mut World| {
            world.attestation = Statement::of(&world.report, &world.bytes).to_json().unwrap().into_bytes();
        };
        refused(unsign, "nobody signed it");
        let accepted = judged(|world| {
            unsign(world);
            world.accepts_unsigned = true;
        });
        assert_eq!(accepted.unwrap().by, SignedBy::Nobody);
    }

    #[test]
    fn a_key_that_is_not_trusted_is_refused() {
        refused(|world| world.trusted = TrustedKeys::default(), "which is not trusted");
    }

    #[test]
    fn a_report_that_was_tampered_with_is_refused() {
        let mut refusals = Vec::new();
        let result = judged(|world| {
            world.report.score.all.passed += 1;
            world.bytes = serde_json::to_vec(&world.report).unwrap();
        });
        refusals.extend(result.expect_err("accepted"));
        assert!(matches!(refusals[..], [Refusal::OtherReport { .. }]), "{refusals:?}");
    }

    #[test]
    fn a_statement_that_says_something_else_than_its_report_is_refused() {
        refused(
            |world| {
                let key = apr_format::sign::generate_key().unwrap();
                let mut claimed = world.report.clone();
                claimed.gate = sample::eventful().gate;
                world.requires_pass = false;
                let statement = Statement::of(&claimed, &world.bytes);
                world.trusted.trust(key.public_key(), "careless");
                world.attestation = Envelope::seal(&statement, &key).unwrap().to_json().unwrap().into_bytes();
            },
            "does not say what the report says",
        );
    }

    #[test]
    fn another_model_another_binary_another_checklist_and_other_goldens_are_refused() {
        for (at, words) in
            [(0, "model `tiny.apr`"), (1, "apr `apr`"), (2, "engine `"), (3, "checklist `"), (4, "golden `")]
        {
            refused(|world| world.here[at].sha256 = "9".repeat(64), words);
        }
    }

    #[test]
    fn a_file_that_is_gone_or_was_added_is_refused() {
        refused(|world| drop(world.here.remove(0)), "SHA-256 absent");
        let added = |world: &mut World| {
            let name = "checklist/b.yaml".to_owned();
            world.here.push(InputFile { role: Role::Checklist, name, sha256: "6".repeat(64) });
        };
        refused(added, "attested none");
    }

    #[test]
    fn a_run_that_judged_no_apr_vouches_for_none() {
        let result = judged(|world| {
            world.report.inputs.remove(1);
            world.bytes = serde_json::to_vec(&world.report).unwrap();
            let key = apr_format::sign::generate_key().unwrap();
            world.trusted.trust(key.public_key(), "release");
            let statement = Statement::of(&world.report, &world.bytes);
            world.attestation = Envelope::seal(&statement, &key).unwrap().to_json().unwrap().into_bytes();
        });
        assert_eq!(result, Err(vec![Refusal::Nothing("apr")]));
    }

    #[test]
    fn what_is_not_asked_about_is_not_judged() {
        let attested = judged(|world| {
            world.here[2].sha256 = "9".repeat(64);
            world.roles = vec![Role::Model, Role::Apr];
        });
        assert_eq!(attested.unwrap().n_files, 2);
    }

    #[test]
    fn a_run_that_did_not_pass_is_refused_where_it_must_have() {
        let fail = |world: &mut World| {
            let inputs = std::mem::take(&mut world.report.inputs);
            world.report = Report { inputs, ..sample::eventful() };
            world.bytes = serde_json::to_vec(&world.report).unwrap();
            world.attestation = Statement::of(&world.report, &world.bytes).to_json().unwrap().into_bytes();
            world.accepts_unsigned = true;
        };
        refused(fail, "is FAILED, not PASSED");
        let accepted = judged(|world| {
            fail(world);
            world.requires_pass = false;
        });
        assert_eq!(accepted.unwrap().statement.result(), super::super::TestResult::Failed);
    }

    /// What is refused of files of `role` where the run attests none and these are here.
    fn of_none_attested(role: Role, here: &[InputFile]) -> Vec<Refusal> {
        let mut report = sample::all_passing();
        report.inputs.clear();
        differences(&Statement::of(&report, b""), here, role)
    }

    #[test]
    fn where_none_is_attested_each_file_by_name_is_unknown_and_one_by_role_is_held_to_nothing() {
        let file = |role, name: &str| InputFile { role, name: name.to_owned(), sha256: "7".repeat(64) };
        let unknown =
            of_none_attested(Role::Golden, &[file(Role::Golden, "golden/a"), file(Role::Apr, "apr")]);
        assert!(
            matches!(&unknown[..], [Refusal::OtherFile { name, attested, .. }]
            if name == "golden/a" && attested == "none"),
            "{unknown:?}"
        );
        assert_eq!(of_none_attested(Role::Apr, &[file(Role::Apr, "apr")]), [Refusal::Nothing("apr")]);
        assert_eq!(of_none_attested(Role::Apr, &[file(Role::Golden, "golden/a")]), []);
    }
}
