//! Signatures over statements about models, by the rules of DSSE v1 (the Dead Simple Signing Envelope).
//!
//! What is signed is the type of the payload and the payload, each with its length. It begins with other words than what
//! is signed of a model, so neither signature can be taken for the other.

use crate::keys::{PublicKey, SecretKey};

impl SecretKey {
    /// The signature of a payload of this type.
    pub fn sign_payload(&self, payload_type: &str, payload: &[u8]) -> [u8; 64] {
        self.sign_message(&pre_authentication_encoding(payload_type, payload))
    }
}

impl PublicKey {
    /// Whether `signature` is this key's over exactly this payload of this type.
    pub fn verifies_payload(&self, payload_type: &str, payload: &[u8], signature: &[u8]) -> bool {
        self.verifies_message(&pre_authentication_encoding(payload_type, payload), signature)
    }
}

/// `DSSEv1 LENGTH TYPE LENGTH PAYLOAD`.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_payload_cannot_run_into_each_other() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_ne!(pre_authentication_encoding("a b", b"c"), pre_authentication_encoding("a", b"b c"));
    }

    #[test]
    fn a_signature_holds_for_its_payload_its_type_and_its_key_only() {
        let (key, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let signature = key.sign_payload("t", b"payload");
        let public = key.public_key();
        assert!(public.verifies_payload("t", b"payload", &signature));
        assert!(!public.verifies_payload("t", b"payloae", &signature));
        assert!(!public.verifies_payload("u", b"payload", &signature));
        assert!(!other.public_key().verifies_payload("t", b"payload", &signature));
        assert!(!public.verifies_payload("t", b"payload", &signature[..63]));
        assert!(!public.verifies_payload("t", b"payload", &[0; 64]));
    }
}
