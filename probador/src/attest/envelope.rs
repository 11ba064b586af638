//! The envelope around a statement that was signed (DSSE v1), and reading a statement with or without one.

use apr_format::{PublicKey, SecretKey, TrustedKeys};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Refusal, Statement};

/// What the payload of an envelope is.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Larger files are no attestations.
const MAX_SIZE: usize = 64 << 20;

/// A signed statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    /// The public key, in hex.
    keyid: String,
    sig: String,
}

/// A statement and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The statement.
    pub statement: Statement,
    /// Who signed it.
    pub by: SignedBy,
}

/// Who signed a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// Nobody.
    Nobody,
    /// The owner of a trusted key.
    Trusted {
        /// The key.
        key: Box<PublicKey>,
        /// What the list of trusted keys calls it.
        name: String,
    },
}

impl Envelope {
    /// Signs a statement.
    pub fn seal(statement: &Statement, key: &SecretKey) -> anyhow::Result<Self> {
        let payload = statement.to_json()?;
        let signature = key.sign_payload(PAYLOAD_TYPE, payload.as_bytes());
        Ok(Self {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(&payload),
            signatures: vec![Signature { keyid: key.public_key().to_hex(), sig: STANDARD.encode(signature) }],
        })
    }

    /// The envelope's text.
    pub fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The payload, once a trusted key is found to have signed it.
    fn open(&self, trusted: &TrustedKeys) -> Result<(Vec<u8>, SignedBy), Refusal> {
        if self.payload_type != PAYLOAD_TYPE {
            let what = format!("the envelope holds `{}`, not `{PAYLOAD_TYPE}`", self.payload_type);
            return Err(Refusal::Malformed(what));
        }
        let payload = STANDARD
            .decode(&self.payload)
            .map_err(|error| Refusal::Malformed(format!("the payload is not base64: {error}")))?;
        if self.signatures.is_empty() {
            return Err(Refusal::Unsigned);
        }
        let mut stranger = None;
        for signature in &self.signatures {
            let Some(key) = PublicKey::from_hex(&signature.keyid) else { continue };
            let Ok(bytes) = STANDARD.decode(&signature.sig) else { continue };
            if !key.verifies_payload(&self.payload_type, &payload, &bytes) {
                continue;
            }
            match trusted.name_of(&key) {
                Some(name) => {
                    return Ok((payload, SignedBy::Trusted { key: Box::new(key), name: name.to_owned() }));
                }
                None => stranger = Some(key),
            }
        }
        Err(match stranger {
            Some(key) => Refusal::Untrusted(Box::new(key)),
            None => Refusal::BadSignature,
        })
    }
}

impl Signed {
    /// Reads a statement in an envelope that a trusted key signed, or one by itself, which nobody did.
    pub fn read(bytes: &[u8], trusted: &TrustedKeys) -> Result<Self, Refusal> {
        let malformed = |error: &dyn std::fmt::Display| Refusal::Malformed(error.to_string());
        if bytes.len() > MAX_SIZE {
            return Err(Refusal::Malformed(format!("it has {} bytes", bytes.len())));
        }
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::Malformed(format!("it is not JSON: {error}")))?;
        if value.get("payload").is_none() {
            let statement =
                Statement::from_json(bytes).map_err(|error| malformed(&format_args!("{error:#}")))?;
            return Ok(Self { statement, by: SignedBy::Nobody });
        }
        let envelope: Envelope = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::Malformed(format!("it is no envelope: {error}")))?;
        let (payload, by) = envelope.open(trusted)?;
        let statement =
            Statement::from_json(&payload).map_err(|error| malformed(&format_args!("{error:#}")))?;
        Ok(Self { statement, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn sealed() -> (Statement, Envelope, TrustedKeys) {
        let key = apr_format::sign::generate_key().unwrap();
        let statement = Statement::of(&sample::eventful(), b"report");
        let envelope = Envelope::seal(&statement, &key).unwrap();
        let mut trusted = TrustedKeys::default();
        trusted.trust(key.public_key(), "release");
        (statement, envelope, trusted)
    }

    fn read(envelope: &Envelope, trusted: &TrustedKeys) -> Result<Signed, Refusal> {
        Signed::read(envelope.to_json().unwrap().as_bytes(), trusted)
    }

    #[test]
    fn what_a_trusted_key_signed_is_read_with_its_name() {
        let (statement, envelope, trusted) = sealed();
        let signed = read(&envelope, &trusted).unwrap();
        assert_eq!(signed.statement, statement);
        assert!(matches!(signed.by, SignedBy::Trusted { name, .. } if name == "release"));
    }

    #[test]
    fn a_payload_that_was_changed_after_signing_is_refused() {
        let (_, mut envelope, trusted) = sealed();
        let payload = String::from_utf8(STANDARD.decode(&envelope.payload).unwrap()).unwrap();
        envelope.payload = STANDARD.encode(payload.replace("\"FAILED\"", "\"PASSED\""));
        assert_eq!(read(&envelope, &trusted), Err(Refusal::BadSignature));
    }

    #[test]
    fn a_key_that_is_not_trusted_and_one_that_did_not_sign_are_told_apart() {
        let (statement, mut envelope, trusted) = sealed();
        let stranger = apr_format::sign::generate_key().unwrap();
        let by_stranger = Envelope::seal(&statement, &stranger).unwrap();
        assert_eq!(read(&by_stranger, &trusted), Err(Refusal::Untrusted(Box::new(stranger.public_key()))));
        envelope.signatures[0].keyid = stranger.public_key().to_hex();
        assert_eq!(read(&envelope, &trusted), Err(Refusal::BadSignature));
    }

    #[test]
    fn one_signature_that_counts_is_enough_whatever_stands_beside_it() {
        let (statement, envelope, trusted) = sealed();
        let stranger = apr_format::sign::generate_key().unwrap();
        let mut both = Envelope::seal(&statement, &stranger).unwrap();
        both.signatures.push(Signature { keyid: "no key".into(), sig: "%".into() });
        both.signatures.push(Signature { keyid: envelope.signatures[0].keyid.clone(), sig: "%".into() });
        assert!(read(&both, &trusted).is_err());
        both.signatures.extend(envelope.signatures);
        assert!(matches!(read(&both, &trusted).unwrap().by, SignedBy::Trusted { .. }));
    }

    #[test]
    fn an_envelope_without_signatures_is_unsigned_and_a_statement_by_itself_nobodys() {
        let (statement, mut envelope, trusted) = sealed();
        envelope.signatures.clear();
        assert_eq!(read(&envelope, &trusted), Err(Refusal::Unsigned));
        let bare = Signed::read(statement.to_json().unwrap().as_bytes(), &trusted).unwrap();
        assert_eq!(bare.by, SignedBy::Nobody);
    }

    #[test]
    fn what_is_no_attestation_is_refused_without_a_panic() {
        let (_, envelope, trusted) = sealed();
        let mut other = envelope.clone();
        other.payload_type = "text/plain".into();
        let mut broken = envelope.clone();
        broken.payload = "%%%".into();
        let texts = [
            String::new(),
            "[".repeat(100_000),
            "{}".to_owned(),
            "{\"payload\": 1}".to_owned(),
            other.to_json().unwrap(),
            broken.to_json().unwrap(),
            envelope.to_json().unwrap().replacen('{', "{\"extra\": 1, ", 1),
        ];
        for text in texts {
            let refused = Signed::read(text.as_bytes(), &trusted);
            assert!(matches!(refused, Err(Refusal::Malformed(_))), "{refused:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_size_before_it_is_read() {
        let refused = Signed::read(&vec![0; MAX_SIZE + 1], &TrustedKeys::default());
        assert_eq!(refused, Err(Refusal::Malformed(format!("it has {} bytes", MAX_SIZE + 1))));
    }
}
