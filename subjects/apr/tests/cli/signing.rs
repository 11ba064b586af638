//! Keys, signatures, and what they are worth.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::Place;

/// A place with two key pairs and a model signed with the first.
fn signed() -> Place {
    let place = Place::new();
    place.apr().args(["keygen", "-o", "key"]).assert().success();
    place.apr().args(["keygen", "-o", "other"]).assert().success();
    place.apr().args(["sign", "model.apr", "--key", "key", "-o", "signed.apr"]).assert().success();
    place
}

#[test]
fn secret_key_is_its_owners_alone_and_never_printed() {
    let place = Place::new();
    let stdout = place.stdout(["keygen", "-o", "key"]);
    assert_eq!(place.path("key").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(place.path("key")).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    assert!(secret.len() == 64 && !stdout.contains(secret));
    let public = fs::read_to_string(place.path("key.pub")).unwrap();
    assert!(stdout.contains(public.lines().nth(1).unwrap()) && !public.contains(secret));
}

#[test]
fn key_is_never_overwritten_and_a_pair_is_made_whole_or_not_at_all() {
    let place = Place::new();
    place.apr().args(["keygen", "-o", "key"]).assert().success();
    let (secret, public) = (fs::read(place.path("key")).unwrap(), fs::read(place.path("key.pub")).unwrap());
    let refused = place.apr().args(["keygen", "-o", "key"]).assert().code(1);
    let stderr = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(stderr.contains("give another path with -o") && !stderr.contains("--force"), "{stderr}");
    assert_eq!(fs::read(place.path("key")).unwrap(), secret);
    // The public half of another pair is there: no secret half is made for it.
    fs::remove_file(place.path("key")).unwrap();
    place.apr().args(["keygen", "-o", "key"]).assert().code(1);
    assert!(!place.path("key").exists());
    assert_eq!(fs::read(place.path("key.pub")).unwrap(), public);
}

#[test]
fn signature_counts_for_the_key_that_made_it() {
    let place = signed();
    let code =
        |args: &[&str]| place.apr().arg("validate").args(args).output().unwrap().status.code().unwrap();
    assert_eq!(code(&["signed.apr", "--public-key", "key.pub"]), 0);
    assert_eq!(code(&["signed.apr", "--public-key", "key.pub", "--require-signature"]), 0);
    assert_eq!(code(&["signed.apr", "--public-key", "other.pub"]), 1);
    assert_eq!(code(&["model.apr", "--public-key", "key.pub"]), 1);
    assert_eq!(code(&["model.apr"]), 0);
    assert_eq!(code(&["model.apr", "--require-signature"]), 1);
    // Nobody trusts the key yet.
    assert_eq!(code(&["signed.apr"]), 0);
    assert_eq!(code(&["signed.apr", "--require-signature"]), 1);
}

#[test]
fn trusted_keys_come_from_the_named_file() {
    let place = signed();
    let public = fs::read_to_string(place.path("key.pub")).unwrap();
    fs::write(place.path("trusted"), format!("{} release team\n", public.lines().nth(1).unwrap())).unwrap();
    let validate = |name: &str| {
        let mut command = place.apr();
        command.env("APR_TRUSTED_KEYS", place.path("trusted")).args([
            "validate",
            "--require-signature",
            name,
        ]);
        command.output().unwrap()
    };
    let output = validate("signed.apr");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("✓ Signature: VALID (by release team, "));
    assert_eq!(validate("model.apr").status.code(), Some(1));
    let mut inspect = place.apr();
    let output = inspect
        .env("APR_TRUSTED_KEYS", place.path("trusted"))
        .args(["inspect", "signed.apr"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("Signature: signed by release team ("));
    assert!(place.stdout(["inspect", "signed.apr"]).contains("which is not trusted"));
}

#[test]
fn model_signed_again_is_signed_by_the_second_key() {
    let place = signed();
    place.apr().args(["sign", "signed.apr", "--key", "other", "-o", "again.apr"]).assert().success();
    place.apr().args(["validate", "again.apr", "--public-key", "other.pub"]).assert().success();
    place.apr().args(["validate", "again.apr", "--public-key", "key.pub"]).assert().code(1);
}

#[test]
fn key_file_that_is_no_key_is_refused_by_name() {
    let place = signed();
    let cases: [&[&str]; 4] = [
        &["sign", "model.apr", "--key", "key.pub", "-o", "x.apr"],
        &["sign", "model.apr", "--key", "gone", "-o", "x.apr"],
        &["validate", "signed.apr", "--public-key", "key"],
        &["validate", "signed.apr", "--public-key", "model.apr"],
    ];
    for args in cases {
        let output = place.apr().args(args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
    }
    fs::set_permissions(place.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = place.apr().args(["sign", "model.apr", "--key", "key", "-o", "x.apr"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("hint: chmod 600 key"));
    assert!(!place.path("x.apr").exists());
}

#[test]
fn damaged_model_is_not_signed() {
    let place = signed();
    let mut bytes = fs::read(place.path("model.apr")).unwrap();
    let n = bytes.len();
    bytes[n - 100] ^= 1;
    fs::write(place.path("damaged.apr"), bytes).unwrap();
    place.apr().args(["sign", "damaged.apr", "--key", "key", "-o", "x.apr"]).assert().code(1);
    assert!(!place.path("x.apr").exists());
}
