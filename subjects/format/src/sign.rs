//! Signing a model, and judging the signature of one.
//!
//! The signature field of the metadata holds a public key and its Ed25519 signature over the root hash. The root hash
//! covers header, metadata and index, and through the stored tensor hashes the tensors. It says who sealed the file;
//! whether that counts is decided by a list of trusted keys.

use std::path::Path;

use serde::Serialize;

use crate::atomic::{self, Overwrite};
use crate::error::{Fault, FormatError};
use crate::keys::{PublicKey, SecretKey, TrustedKeys};
use crate::metadata::Metadata;
use crate::reader::AprFile;
use crate::writer::{AprWriter, TensorSpec, Written};

/// What the signature of a file is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum SignatureVerdict {
    /// There is none.
    Unsigned,
    /// It is of a trusted key.
    SignedTrusted {
        /// The key.
        key: PublicKey,
        /// What the list of trusted keys calls it.
        name: String,
    },
    /// It is valid, of a key that is not trusted.
    SignedUntrusted {
        /// The key.
        key: PublicKey,
    },
    /// It is not a signature over this file.
    Invalid {
        /// What is wrong.
        what: String,
    },
}

impl SignatureVerdict {
    /// Whether `--require-signature` is satisfied.
    #[cfg_attr(
        any(),
        probador::allow(I5, reason = "the verdict in one word, for programs with the library; tests ask it")
    )]
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::SignedTrusted { .. })
    }
}

/// Generates a key pair.
pub fn generate_key() -> Result<SecretKey, std::io::Error> {
    SecretKey::generate()
}

/// Copies the model `input` to `output`, signed with `key`; a signature it has is replaced.
///
/// Every byte of the input is checked first: a signature vouches for what was read.
pub fn sign(
    input: &Path,
    output: &Path,
    key: &SecretKey,
    overwrite: Overwrite,
) -> Result<Written, FormatError> {
    rewrite(input, output, Some(key), overwrite)
}

/// Copies the model `input` to `output` without its signature.
#[cfg_attr(
    any(),
    probador::allow(
        I5,
        reason = "the reverse of `sign`, by which tests show that a stripped signature is noticed"
    )
)]
pub fn strip_signature(input: &Path, output: &Path, overwrite: Overwrite) -> Result<Written, FormatError> {
    rewrite(input, output, None, overwrite)
}

fn rewrite(
    input: &Path,
    output: &Path,
    key: Option<&SecretKey>,
    overwrite: Overwrite,
) -> Result<Written, FormatError> {
    atomic::ensure_distinct(output, [input])?;
    let file = AprFile::open(input)?;
    file.verify()?;
    let tensors = file.entries().iter().map(|entry| TensorSpec {
        name: entry.name.clone(),
        dtype: entry.dtype,
        shape: entry.shape.clone(),
    });
    let metadata = file.metadata().clone();
    let mut writer = AprWriter::create_signed(output, metadata, tensors.collect(), overwrite, key.cloned())?;
    for entry in file.entries() {
        let mut tensor = writer.tensor_writer(&entry.name)?;
        let mut outcome = Ok(());
        file.read_tensor(entry, |chunk| {
            if outcome.is_ok() {
                outcome = tensor.append(chunk);
            }
        })?;
        outcome?;
        // What is signed is what was just read; it must be what was verified.
        let expected = file.tensor_hash(&entry.name);
        if expected.is_some_and(|expected| writer.tensor_hash(&entry.name).as_deref() != Some(expected)) {
            return Err(FormatError::Changed {
                path: input.to_owned(),
                what: "it was written to".to_owned(),
            });
        }
    }
    file.check_unchanged()?;
    writer.finish()
}

/// Judges the signature in `metadata`, of a file with this root hash.
pub fn verdict(metadata: &Metadata, root_hash: &str, trusted: &TrustedKeys) -> SignatureVerdict {
    let Some(field) = &metadata.signature else { return SignatureVerdict::Unsigned };
    match check_field(field, root_hash) {
        Ok(key) => match trusted.name_of(&key) {
            Some(name) => SignatureVerdict::SignedTrusted { key, name: name.to_owned() },
            None => SignatureVerdict::SignedUntrusted { key },
        },
        Err(what) => SignatureVerdict::Invalid { what },
    }
}

impl AprFile {
    /// What the file's signature is worth, given the keys that are trusted.
    pub fn signature_verdict(&self, trusted: &TrustedKeys) -> SignatureVerdict {
        verdict(self.metadata(), self.root_hash(), trusted)
    }
}

/// Whether flag, field and root hash agree: what every open checks, whoever signed.
pub(crate) fn check_seal(signed: bool, metadata: &Metadata, root_hash: &str) -> Result<(), Fault> {
    match (&metadata.signature, signed) {
        (None, false) => Ok(()),
        (None, true) => Err(Fault::Signature("it is flagged SIGNED and has none".to_owned())),
        (Some(_), false) => Err(Fault::Signature("it has one and is not flagged SIGNED".to_owned())),
        (Some(field), true) => check_field(field, root_hash).map(drop).map_err(Fault::Signature),
    }
}

/// The key of the signature `field`, when the signature is valid.
fn check_field(field: &str, root_hash: &str) -> Result<PublicKey, String> {
    let (key, signature) = field.split_at_checked(64).ok_or("it is too short")?;
    let key = PublicKey::from_hex(key).ok_or("its public key is not one")?;
    if key.verifies(root_hash, signature) {
        Ok(key)
    } else {
        Err(format!("it is not a signature of {key} over this file"))
    }
}
