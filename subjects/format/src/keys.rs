//! Ed25519 keys and the text files they are kept in.

use std::fmt;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::atomic::{AtomicFile, Overwrite};
use crate::error::FormatError;
use crate::hash;

/// First line of a secret key file.
const SECRET_HEADER: &str = "probador ed25519 secret key";
/// First line of a public key file.
const PUBLIC_HEADER: &str = "probador ed25519 public key";
/// Larger key files are refused unread.
const MAX_KEY_FILE_SIZE: u64 = 1 << 20;
/// Names the file of trusted keys.
const TRUSTED_KEYS_VARIABLE: &str = "APR_TRUSTED_KEYS";

/// What is signed: this and the root hash. It keeps a signature from being taken for one over something else.
const CONTEXT: &[u8] = b"probador .apr root hash 1\0";

/// A key that verifies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A key that signs. Its `Debug` shows only the public half.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl PublicKey {
    /// From 64 hex digits that are a usable point.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hash::is_hex(digits, 64).then_some(())?;
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        let key = VerifyingKey::from_bytes(&bytes).ok()?;
        // Weak keys verify signatures over anything.
        (!key.is_weak()).then_some(Self(key))
    }

    /// As 64 hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// Whether `signature` (128 hex digits) is this key's over `root_hash`.
    pub(crate) fn verifies(&self, root_hash: &str, signature: &str) -> bool {
        let mut bytes = [0; 64];
        hash::is_hex(signature, 128)
            && hex::decode_to_slice(signature, &mut bytes).is_ok()
            && self.0.verify_strict(&message(root_hash), &bytes.into()).is_ok()
    }

    /// Whether `signature` is this key's over exactly `message`.
    pub(crate) fn verifies_message(&self, message: &[u8], signature: &[u8]) -> bool {
        <&[u8; 64]>::try_from(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature.into()).is_ok())
    }

    /// Reads a public key file.
    pub fn read(path: &Path) -> Result<Self, FormatError> {
        let digits = read_key(path, PUBLIC_HEADER)?;
        Self::from_hex(&digits).ok_or_else(|| key_error(path, "its second line is not a public key in hex"))
    }

    /// Writes a public key file.
    pub fn write(&self, path: &Path, overwrite: Overwrite) -> Result<(), FormatError> {
        write_key(path, overwrite, 0o644, PUBLIC_HEADER, &self.to_hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.to_hex()).finish()
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_hex())
    }
}

impl SecretKey {
    /// A new key from the system's randomness.
    pub fn generate() -> Result<Self, std::io::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The signature field for `root_hash`: public key and signature, as hex digits.
    pub(crate) fn seal(&self, root_hash: &str) -> String {
        let signature = self.0.sign(&message(root_hash));
        format!("{}{}", self.public_key(), hex::encode(signature.to_bytes()))
    }

    /// The signature of `message`, which must not be taken for anything else that this key signs.
    pub(crate) fn sign_message(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Reads a secret key file; refuses one that others may read.
    pub fn read(path: &Path) -> Result<Self, FormatError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let metadata = std::fs::metadata(path).map_err(FormatError::io("open", path))?;
            if metadata.mode() & 0o077 != 0 {
                let what = format!(
                    "others may read or write it (mode {:o})\nhint: chmod 600 {}",
                    metadata.mode() & 0o777,
                    path.display()
                );
                return Err(FormatError::Key { path: path.to_owned(), what });
            }
        }
        let digits = read_key(path, SECRET_HEADER)?;
        let mut seed = [0; 32];
        if !hash::is_hex(&digits, 64) || hex::decode_to_slice(&digits, &mut seed).is_err() {
            return Err(key_error(path, "its second line is not a secret key in hex"));
        }
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Writes a secret key file that only its owner may read.
    pub fn write(&self, path: &Path, overwrite: Overwrite) -> Result<(), FormatError> {
        write_key(path, overwrite, 0o600, SECRET_HEADER, &hex::encode(self.0.to_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

/// Keys whose signatures count, each with the name its owner gave it.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys {
    keys: Vec<(PublicKey, String)>,
}

impl TrustedKeys {
    /// The file that `APR_TRUSTED_KEYS` names, else `~/.config/probador/trusted_keys`. No keys when the latter is absent.
    pub fn of_user() -> Result<Self, FormatError> {
        if let Some(path) = std::env::var_os(TRUSTED_KEYS_VARIABLE).filter(|path| !path.is_empty()) {
            return Self::read(Path::new(&path));
        }
        match Self::default_path() {
            Some(path) if path.exists() => Self::read(&path),
            _ => Ok(Self::default()),
        }
    }

    /// Where the user's trusted keys are when no variable says otherwise.
    pub fn default_path() -> Option<PathBuf> {
        Some(crate::directories::under("XDG_CONFIG_HOME", ".config")?.join("trusted_keys"))
    }

    /// Reads a file of trusted keys: a line each, 64 hex digits and a name. Empty lines and `#` comments are allowed.
    pub fn read(path: &Path) -> Result<Self, FormatError> {
        let text = read_text(path)?;
        let mut keys = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (digits, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let key = PublicKey::from_hex(digits).ok_or_else(|| {
                let what = format!("line {} does not start with a public key in hex", index + 1);
                FormatError::Key { path: path.to_owned(), what }
            })?;
            keys.trust(key, name.trim());
        }
        Ok(keys)
    }

    /// Adds a key.
    pub fn trust(&mut self, key: PublicKey, name: &str) {
        self.keys.push((key, name.to_owned()));
    }

    /// The name of `key`, when it is trusted.
    pub fn name_of(&self, key: &PublicKey) -> Option<&str> {
        self.keys.iter().find(|(trusted, _)| trusted == key).map(|(_, name)| name.as_str())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn message(root_hash: &str) -> Vec<u8> {
    [CONTEXT, root_hash.as_bytes()].concat()
}

fn key_error(path: &Path, what: &str) -> FormatError {
    FormatError::Key { path: path.to_owned(), what: what.to_owned() }
}

fn read_text(path: &Path) -> Result<String, FormatError> {
    let metadata = std::fs::metadata(path).map_err(FormatError::io("open", path))?;
    if !metadata.is_file() || metadata.len() > MAX_KEY_FILE_SIZE {
        return Err(key_error(path, "it is not a small text file"));
    }
    let bytes = std::fs::read(path).map_err(FormatError::io("read", path))?;
    String::from_utf8(bytes).map_err(|_| key_error(path, "it is not text"))
}

/// The second line of a key file that starts with `header`.
fn read_key(path: &Path, header: &str) -> Result<String, FormatError> {
    let text = read_text(path)?;
    let mut lines = text.lines();
    if lines.next() != Some(header) {
        return Err(key_error(path, &format!("its first line is not `{header}`")));
    }
    let digits = lines.next().unwrap_or_default().to_owned();
    if lines.any(|line| !line.trim().is_empty()) {
        return Err(key_error(path, "it has more than two lines"));
    }
    Ok(digits)
}

fn write_key(
    path: &Path,
    overwrite: Overwrite,
    mode: u32,
    header: &str,
    digits: &str,
) -> Result<(), FormatError> {
    use std::io::Write;
    let mut file = AtomicFile::create_with_mode(path, overwrite, mode)?;
    write!(file, "{header}\n{digits}\n").map_err(FormatError::io("write", path))?;
    file.commit()
}
