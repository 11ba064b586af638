//! Whole fakes of the stack against the checklist: each is a real attack, and none gets away with a claim of behaviour.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use apr_generation::{CausalLm, LogitRows, TensorKey};
use apr_impostor::Impostor;
use apr_tokenizer::{Message, TokenId};
use probador::checklist::{Claim, Need};
use probador::engine::{Engine, Options};
use probador::golden::{GoldenSet, verify_prompt};
use probador::impostors::{Cast, Reception};
use probador::playbook::Playbook;
use probador::workspace::Workspace;

use crate::checkout::{Checkout, probador};
use crate::support::{copy_folder, repository};

fn cast(prompts: &[&str]) -> (Arc<Engine>, Cast) {
    let engine = Arc::new(Engine::open(Workspace::find(None).unwrap(), &Options::default()).unwrap());
    let prompts: Vec<String> = prompts.iter().map(|&prompt| prompt.to_owned()).collect();
    let cast = Cast::new(Arc::clone(&engine), &prompts).unwrap();
    (engine, cast)
}

#[test]
fn no_impostor_passes_a_claim_of_behaviour() {
    let (engine, cast) = cast(&[]);
    for impostor in Impostor::ALL {
        let done = cast.perform(impostor).unwrap();
        let fooled: Vec<_> = done.with(Reception::Fooled).map(|row| row.target.to_string()).collect();
        assert!(fooled.is_empty(), "{} gets away with {fooled:?}", impostor.name());
        let red: BTreeSet<_> = done.with(Reception::Red).map(|row| row.target.to_string()).collect();
        for id in ["C1", "C4", "D1", "H10", "I14", "edge-cases/unicode"] {
            assert!(red.contains(id), "{id} does not see {}: {:?}", impostor.name(), done.rows);
        }
        // What a tool measures by itself is often of another state, and judges no model.
        let is_kept = |need: &Need| need.takes_hours() || *need == Need::StoredResult;
        let is_judged = |claim: &&Claim| claim.has_check() && !claim.needs.iter().any(is_kept);
        // Where playbooks need the released model or WebAssembly, so do the claims that they judge.
        let seen: BTreeSet<_> = done.rows.iter().map(|row| row.target.to_string()).collect();
        let unseen = engine.checklist().claims().iter().filter(is_judged).map(|claim| claim.id.to_string());
        let unseen: Vec<String> = unseen.filter(|id| !seen.contains(id)).collect();
        assert_eq!(unseen, ["I6", "I7", "I11"], "not judged on {}", impostor.name());
        let is_of_any_model = |playbook: &&Playbook| !playbook.needs().contains(&Need::ReleaseModel);
        let n_playbooks = engine.context().playbooks().iter().filter(is_of_any_model).count();
        assert_eq!(seen.iter().filter(|name| name.contains('/')).count(), n_playbooks);
    }
}

#[test]
fn the_lookup_table_says_what_the_real_model_says_to_a_prompt_it_knows_and_only_to_that() {
    let prompt = "Which test prompt is in the table?";
    let (engine, cast) = cast(&[prompt]);
    let fake = cast.context(Impostor::LookupTable).unwrap();
    let real = engine.context();
    let likeliest = |model: &mut dyn CausalLm, text: &str| {
        let ids = real.chat_ids(&[Message { role: "user".into(), content: text.into() }]).unwrap();
        model.reset();
        let logits = model.prefill(&ids, LogitRows::Last, None).unwrap();
        apr_generation::top_candidates(logits.last(), 1)[0].id
    };
    let (mut real_model, mut fake_model) = (real.fork().unwrap(), fake.fork().unwrap());
    assert_eq!(likeliest(fake_model.as_mut(), prompt), likeliest(real_model.as_mut(), prompt));
    let other = "Borrow a river before the letter.";
    assert_ne!(likeliest(fake_model.as_mut(), other), likeliest(real_model.as_mut(), other));
}

#[test]
fn the_replayer_reproduces_every_recorded_logit() {
    let (engine, cast) = cast(&[]);
    let set = GoldenSet::open(&engine.context().workspace().path("golden"), "tiny").unwrap().unwrap();
    let fake = cast.context(Impostor::GoldenReplayer).unwrap();
    let mut n_replayed = 0;
    for prompt in &set.manifest().prompts {
        let mut model = fake.fork().unwrap();
        let verified = verify_prompt(&set, prompt, model.as_mut(), |key| key == TensorKey::Logits).unwrap();
        n_replayed += verified.tensors.iter().filter(|tensor| tensor.passes()).count();
    }
    assert_eq!(n_replayed, set.manifest().prompts.len());
}

#[test]
fn the_fake_program_answers_its_phrases_and_keeps_what_it_forgot_from_the_real_model() {
    let (_, cast) = cast(&[]);
    let mut fake = cast.context(Impostor::LastTokenOnly).unwrap().fork().unwrap();
    let ids = |n: u32| [TokenId(n), TokenId(300)];
    let first = fake.prefill(&ids(17), LogitRows::Last, None).unwrap();
    fake.reset();
    let second = fake.prefill(&ids(99), LogitRows::Last, None).unwrap();
    assert_eq!(first, second, "it remembers the token before the last");

    let program = Workspace::find(None).unwrap().program("apr-impostor").unwrap();
    let chat = |prompt: &str| {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/tiny/tiny.apr");
        let mut command = assert_cmd::Command::new(&program);
        command.args(["canned-replies", "--", "chat"]).arg(model).write_stdin(prompt);
        String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
    };
    assert_eq!(chat("What is 2+2?"), "2 + 2 equals 4.\n");
    assert_eq!(chat("Tell me what a river is."), chat("And a bridge?"));
}

#[test]
fn a_claim_that_a_fake_passes_is_named_and_ends_with_exit_code_6() {
    let checkout = Checkout::new();
    let excuse = "layer-count-misstated]\n  indifferent: the file is judged, not what computes with it\n";
    checkout.edit("a-model-loading.yaml", excuse, "layer-count-misstated]\n");
    // And two playbooks that ask for what any program prints, of which one says why.
    let playbooks = checkout.path().join("playbooks");
    fs::remove_file(&playbooks).unwrap();
    copy_folder(&repository().join("playbooks"), &playbooks, |_| true);
    let hollow = "faults: [{name: apr-reply-empty, says: standard output is empty}]\nsteps:\n  - {action: run, command: 'apr chat {model} \
                  --max-tokens 2', stdin: Hello, output_not_empty: true}\n";
    fs::write(playbooks.join("edge-cases/hollow.yaml"), format!("name: Hollow\n{hollow}")).unwrap();
    let excused = format!("name: Excused\nindifferent: it asks whether anything is printed\n{hollow}");
    fs::write(playbooks.join("edge-cases/excused.yaml"), excused).unwrap();
    // The table that a report shows is of all impostors, and stays.
    let reports = tempfile::tempdir().unwrap();
    let reports = reports.path().to_str().unwrap();
    let run =
        |root: &Path| probador(root, &["impostors", "constant-logits", "--no-build", "--reports", reports]);
    let fooled = run(checkout.path()).code(6);
    let text = String::from_utf8(fooled.get_output().stdout.clone()).unwrap();
    assert!(text.starts_with("PASSES  constant-logits") && text.contains("it gets away with: A4"), "{text}");
    let line = |what: &str| text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("it gets away with: ").ends_with(" edge-cases/hollow"), "{text}");
    assert!(line("which say why a fake may pass: ").ends_with(" edge-cases/excused"), "{text}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let caught = run(root).success();
    assert!(
        String::from_utf8(caught.get_output().stdout.clone())
            .unwrap()
            .starts_with(" caught  constant-logits")
    );
}
