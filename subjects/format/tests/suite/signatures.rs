//! Signatures: whose they are, what they cover, and what happens when somebody tampers.

use std::fs;
use std::path::{Path, PathBuf};

use apr_format::{
    AprFile, Check, Flags, FormatError, Header, Outcome, Overwrite, PublicKey, SecretKey, SignatureVerdict,
    TrustedKeys, ValidateOptions, sign, validate,
};
use tempfile::TempDir;

use crate::support::{Raw, find, fix_checksums, seal, small_model};

/// A directory with a signed model, and its key.
struct Signed {
    directory: TempDir,
    key: SecretKey,
}

impl Signed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("plain.apr"), small_model(1)).unwrap();
        let key = sign::generate_key().unwrap();
        let signed = Self { directory, key };
        sign::sign(&signed.path("plain.apr"), &signed.path("signed.apr"), &signed.key, Overwrite::Refuse)
            .unwrap();
        signed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path("signed.apr")).unwrap()
    }

    /// A file in the directory with these bytes.
    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.path("altered.apr");
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn trusting(key: &PublicKey) -> TrustedKeys {
    let mut trusted = TrustedKeys::default();
    trusted.trust(*key, "the maker");
    trusted
}

#[track_caller]
fn refused(path: &Path, expected: &str) {
    let error = AprFile::open(path).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    let validation = validate(path, &ValidateOptions::default()).unwrap();
    assert!(!validation.is_valid());
    assert!(matches!(validation.signature, SignatureVerdict::Invalid { .. }), "{:?}", validation.signature);
    assert_eq!(validation.outcome(Check::Signature), &Outcome::Failed);
}

#[test]
fn a_signature_is_trusted_when_its_key_is_and_only_then() {
    let signed = Signed::new();
    let file = AprFile::open_verified(&signed.path("signed.apr")).unwrap();
    let key = signed.key.public_key();
    assert_eq!(
        file.signature_verdict(&trusting(&key)),
        SignatureVerdict::SignedTrusted { key, name: "the maker".to_owned() }
    );
    let stranger = sign::generate_key().unwrap().public_key();
    assert_eq!(file.signature_verdict(&trusting(&stranger)), SignatureVerdict::SignedUntrusted { key });
    assert_eq!(file.signature_verdict(&TrustedKeys::default()), SignatureVerdict::SignedUntrusted { key });
    let plain = AprFile::open(&signed.path("plain.apr")).unwrap();
    assert_eq!(plain.signature_verdict(&trusting(&key)), SignatureVerdict::Unsigned);
}

#[test]
fn requiring_a_signature_refuses_what_is_unsigned_or_untrusted() {
    let signed = Signed::new();
    let trusted = trusting(&signed.key.public_key());
    let valid = |name: &str, trusted: &TrustedKeys, require_signature: bool| {
        let options = ValidateOptions { trusted: trusted.clone(), require_signature };
        validate(&signed.path(name), &options).unwrap().is_valid()
    };
    assert!(valid("signed.apr", &trusted, true));
    assert!(!valid("signed.apr", &TrustedKeys::default(), true));
    assert!(!valid("plain.apr", &trusted, true));
    assert!(valid("signed.apr", &TrustedKeys::default(), false));
    assert!(valid("plain.apr", &trusted, false));
}

#[test]
fn signing_changes_nothing_but_flag_root_and_signature() {
    let signed = Signed::new();
    let plain = small_model(1);
    let bytes = signed.bytes();
    assert_eq!(plain.len(), bytes.len());
    let opened = AprFile::open(&signed.path("signed.apr")).unwrap();
    let differences = plain.iter().zip(&bytes).filter(|(a, b)| a != b).count();
    // Flag, CRC32 of the header, 64 digits, 192 digits, CRC32 of the file.
    assert!(differences > 100 && differences <= 1 + 4 + 64 + 192 + 4, "{differences}");
    assert_eq!(
        opened.weights_fingerprint(),
        AprFile::open(&signed.path("plain.apr")).unwrap().weights_fingerprint()
    );
    assert!(opened.header().flags.contains(Flags::SIGNED));
}

#[test]
fn a_stripped_signature_leaves_an_unsigned_file_or_a_refused_one() {
    let signed = Signed::new();
    // Without the flag, the field is still there.
    let mut raw = Raw::new(&signed.bytes());
    raw.header.flags = raw.header.flags.without(Flags::SIGNED);
    refused(&signed.file(&raw.build()), "it has one and is not flagged SIGNED");
    // Without the field, the flag is still there.
    let field = raw.metadata.find("\"signature\":\"").unwrap() + 13;
    raw.metadata.replace_range(field..field + 192, &"0".repeat(192));
    raw.header.flags = raw.header.flags.with(Flags::SIGNED);
    refused(&signed.file(&raw.build()), "it is flagged SIGNED and has none");
    // Without both it is a plain file, and is called one.
    raw.header.flags = raw.header.flags.without(Flags::SIGNED);
    let path = signed.file(&raw.build());
    let verdict = AprFile::open(&path).unwrap().signature_verdict(&trusting(&signed.key.public_key()));
    assert_eq!(verdict, SignatureVerdict::Unsigned);
    assert_eq!(fs::read(path).unwrap(), small_model(1));
}

#[test]
fn a_signature_over_other_bytes_is_refused() {
    let signed = Signed::new();
    let mut raw = Raw::new(&signed.bytes());
    raw.replace("\"name\":\"small\"", "\"name\":\"smell\"");
    refused(&signed.file(&raw.build()), "over this file");
    // A tensor changed, with its hash and everything that follows from it.
    let mut raw = Raw::new(&signed.bytes());
    let entry = raw.entry("model.norm.weight").clone();
    let range = entry.offset as usize..(entry.offset + entry.size) as usize;
    let before = blake3::hash(&raw.data[range.clone()]).to_hex();
    raw.data[range.start] ^= 1;
    let after = blake3::hash(&raw.data[range]).to_hex();
    raw.replace(before.as_str(), after.as_str());
    refused(&signed.file(&raw.build()), "over this file");
}

#[test]
fn a_swapped_key_is_refused_or_untrusted() {
    let signed = Signed::new();
    let stranger = sign::generate_key().unwrap();
    // Another key over the same signature.
    let mut bytes = signed.bytes();
    let key = find(&bytes, b"\"signature\":\"").unwrap() + 13;
    bytes[key..key + 64].copy_from_slice(stranger.public_key().to_hex().as_bytes());
    fix_checksums(&mut bytes);
    refused(&signed.file(&bytes), "it is not a signature of");
    // Another key with its own signature: valid, and a stranger's.
    let path = signed.path("stranger.apr");
    sign::sign(&signed.path("signed.apr"), &path, &stranger, Overwrite::Refuse).unwrap();
    let verdict = AprFile::open(&path).unwrap().signature_verdict(&trusting(&signed.key.public_key()));
    assert_eq!(verdict, SignatureVerdict::SignedUntrusted { key: stranger.public_key() });
}

#[test]
fn keys_that_verify_anything_are_refused() {
    let signed = Signed::new();
    // The identity and a point of order four: with them, signatures over anything can be made.
    for weak in ["01".to_owned() + &"00".repeat(31), "00".repeat(32)] {
        assert!(PublicKey::from_hex(&weak).is_none(), "{weak}");
        let mut bytes = signed.bytes();
        let key = find(&bytes, b"\"signature\":\"").unwrap() + 13;
        bytes[key..key + 64].copy_from_slice(weak.as_bytes());
        fix_checksums(&mut bytes);
        refused(&signed.file(&bytes), "its public key is not one");
    }
}

#[test]
fn every_changed_digit_of_the_signature_is_refused() {
    let signed = Signed::new();
    let bytes = signed.bytes();
    let start = find(&bytes, b"\"signature\":\"").unwrap() + 13;
    for position in start..start + 192 {
        let mut changed = bytes.clone();
        changed[position] = if changed[position] == b'0' { b'1' } else { b'0' };
        let data_start = Header::decode(&changed).unwrap().data_offset as usize;
        seal(&mut changed, data_start);
        fix_checksums(&mut changed);
        assert!(AprFile::open(&signed.file(&changed)).is_err(), "digit {}", position - start);
    }
}

#[test]
fn a_broken_model_is_not_signed() {
    let signed = Signed::new();
    let mut bytes = small_model(1);
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    let path = signed.file(&bytes);
    let output = signed.path("out.apr");
    let error = sign::sign(&path, &output, &signed.key, Overwrite::Refuse).unwrap_err();
    assert!(error.to_string().contains("altered.apr` is not a usable .apr file: tensor"), "{error}");
    assert!(!output.exists());
}

#[test]
fn a_model_is_not_signed_over_itself() {
    let signed = Signed::new();
    let path = signed.path("plain.apr");
    fs::hard_link(&path, signed.path("other-name.apr")).unwrap();
    for output in [path.clone(), signed.path("other-name.apr"), signed.directory.path().join("./plain.apr")] {
        let error = sign::sign(&path, &output, &signed.key, Overwrite::Allow).unwrap_err();
        assert!(matches!(error, FormatError::SameFile(_)), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), small_model(1));
}

#[test]
fn key_files_come_back_as_written() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, public) = (directory.path().join("key"), directory.path().join("key.pub"));
    let key = sign::generate_key().unwrap();
    key.write(&secret, Overwrite::Refuse).unwrap();
    key.public_key().write(&public, Overwrite::Refuse).unwrap();
    assert_eq!(SecretKey::read(&secret).unwrap().public_key(), key.public_key());
    assert_eq!(PublicKey::read(&public).unwrap(), key.public_key());
    assert!(matches!(key.write(&secret, Overwrite::Refuse), Err(FormatError::AlreadyExists(_))));
    assert!(!fs::read_to_string(&public).unwrap().contains(&fs::read_to_string(&secret).unwrap()[28..60]));
    assert!(!format!("{key:?}").contains(fs::read_to_string(&secret).unwrap().lines().nth(1).unwrap()));
    // One is not taken for the other.
    let error = PublicKey::read(&secret).unwrap_err().to_string();
    assert!(error.contains("its first line is not `probador ed25519 public key`"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_secret_key_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    sign::generate_key().unwrap().write(&path, Overwrite::Refuse).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = SecretKey::read(&path).unwrap_err().to_string();
    assert!(error.contains("others may read or write it (mode 640)\nhint: chmod 600"), "{error}");
}

#[test]
fn files_that_are_no_keys_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pub");
    for (text, expected) in [
        (String::new(), "its first line is not"),
        ("probador ed25519 public key\n".to_owned(), "its second line is not a public key"),
        (
            format!("probador ed25519 public key\n{}\n", "AB".repeat(32)),
            "its second line is not a public key",
        ),
        (format!("probador ed25519 public key\n{}\nmore\n", "00".repeat(32)), "more than two lines"),
    ] {
        fs::write(&path, text).unwrap();
        let error = PublicKey::read(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("key.pub"), "{error}");
    }
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(PublicKey::read(&path).unwrap_err().to_string().contains("it is not text"));
    assert!(PublicKey::read(directory.path()).unwrap_err().to_string().contains("not a small text file"));
    // Up to a mebibyte is read, and more is not.
    for (size, expected) in [(1 << 20, "its first line is not"), ((1 << 20) + 1, "not a small text file")] {
        fs::write(&path, "x".repeat(size)).unwrap();
        let error = PublicKey::read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{size}: {error}");
    }
}

#[test]
fn what_is_printed_of_keys_for_developers_tells_the_public_one_and_nothing_of_the_secret_one() {
    let secret = sign::generate_key().unwrap();
    let public = secret.public_key();
    assert_eq!(format!("{public:?}"), format!("PublicKey({:?})", public.to_string()));
    let printed = format!("{secret:?}");
    assert_eq!(printed, format!("SecretKey {{ public_key: {public:?}, .. }}"));
}

#[test]
fn trusted_keys_have_names_and_comments_and_no_nonsense() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trusted_keys");
    let (ours, theirs) =
        (sign::generate_key().unwrap().public_key(), sign::generate_key().unwrap().public_key());
    fs::write(&path, format!("# ours\n\n{ours} release team \n{theirs}\n")).unwrap();
    let trusted = TrustedKeys::read(&path).unwrap();
    assert_eq!(
        (trusted.len(), trusted.name_of(&ours), trusted.name_of(&theirs)),
        (2, Some("release team"), Some(""))
    );
    assert_eq!(trusted.name_of(&sign::generate_key().unwrap().public_key()), None);
    assert!(!trusted.is_empty());
    fs::write(&path, "# nobody yet\n").unwrap();
    assert!(TrustedKeys::read(&path).unwrap().is_empty());
    fs::write(&path, format!("{ours} a\nnonsense b\n")).unwrap();
    let error = TrustedKeys::read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2 does not start with a public key in hex"), "{error}");
}
