//! Keys that sign for an account.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use alloy::primitives::B256;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use edge_ports::Signer;
use edge_types::{ChainAddress, Hash32, Signature};

use crate::keystore;
pub use crate::keystore::KeystoreError;

/// A secp256k1 key in memory. Neither `Debug` nor any other output shows it.
#[derive(Clone)]
pub struct LocalKey {
    signer: PrivateKeySigner,
}

/// A key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// These 32 bytes are no secp256k1 key (zero, or not below the group's order).
    #[error("not a secp256k1 key")]
    OutOfRange,
    /// The file could not be read or written.
    #[error("{attempted} key file {path}")]
    File {
        /// What was being done.
        attempted: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Others than the owner can read or write the file; `chmod 600` it.
    #[error("key file {path} is open to others (mode {mode:o}); it must be 600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not `0x` and 64 hexadecimal digits.
    #[error("key file {path} does not hold 64 hexadecimal digits")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The encrypted file cannot be decrypted.
    #[error("decrypting key file {path}")]
    Keystore {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: KeystoreError,
    },
}

/// A key file as it was read: plain, or to be decrypted by a password.
#[derive(Clone)]
pub struct KeyFile {
    path: PathBuf,
    text: String,
}

/// Longest key file that is read, octets.
const MAX_FILE: u64 = 16 * 1024;

impl KeyFile {
    /// Reads a key file, or file descriptor by its path (`/dev/fd/3`).
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let failed = |cause| KeyError::File {
            attempted: "reading",
            path: path.to_owned(),
            cause,
        };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = String::new();
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }

    /// Does it take a password?
    pub fn is_encrypted(&self) -> bool {
        self.text.trim_start().starts_with('{')
    }

    /// The account that the file tells beside its encrypted key, which need not be true.
    pub fn told_account(&self) -> Option<ChainAddress> {
        let told = keystore::told_address(&self.text)?;
        let digits = told.trim_start_matches("0x");
        format!("0x{digits}").parse().ok()
    }

    /// The key of a file that is not encrypted: 64 hexadecimal digits.
    pub fn plain(&self) -> Result<LocalKey, KeyError> {
        let malformed = || KeyError::Malformed {
            path: self.path.clone(),
        };
        let bytes: Hash32 = self.text.trim().parse().map_err(|_| malformed())?;
        LocalKey::from_bytes(bytes.0).map_err(|_| malformed())
    }

    /// The key of an encrypted file. Takes a second and 128 MiB of memory, on purpose.
    pub fn decrypt(&self, password: &str) -> Result<LocalKey, KeyError> {
        let decrypted = keystore::decrypt(&self.text, password.as_bytes());
        decrypted.map_err(|cause| KeyError::Keystore {
            path: self.path.clone(),
            cause,
        })
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyFile").field(&self.path).finish()
    }
}

impl LocalKey {
    /// A new random key.
    pub fn generate() -> Result<Self, KeyError> {
        loop {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
            // All but 2^-128 of all values are keys.
            if let Ok(key) = Self::from_bytes(bytes) {
                return Ok(key);
            }
        }
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let signer =
            PrivateKeySigner::from_bytes(&B256::new(bytes)).map_err(|_| KeyError::OutOfRange)?;
        Ok(Self { signer })
    }

    /// Reads a key from a plain file of 64 hexadecimal digits, mode 600.
    ///
    /// Only for the development chain: where the money is real, keys belong in an encrypted keystore (rule 13).
    pub fn read_plain(path: &Path) -> Result<Self, KeyError> {
        KeyFile::open(path)?.plain()
    }

    /// Writes the key to a new plain file, mode 600, that [`LocalKey::read_plain`] reads.
    pub fn write_plain(&self, path: &Path) -> Result<(), KeyError> {
        write_new(path, &self.signer.to_bytes().to_string())
    }

    /// Writes the key to a new file, mode 600, encrypted by `password`.
    pub fn write_encrypted(&self, path: &Path, password: &str) -> Result<(), KeyError> {
        let cost = scrypt::Params::RECOMMENDED_LOG_N;
        let json = keystore::encrypt(self, password.as_bytes(), cost)?;
        write_new(path, &json)
    }

    pub(crate) const fn alloy(&self) -> &PrivateKeySigner {
        &self.signer
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), KeyError> {
    let failed = |cause| KeyError::File {
        attempted: "writing",
        path: path.to_owned(),
        cause,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    writeln!(file, "{text}").map_err(failed)
}

impl Signer for LocalKey {
    fn address(&self) -> ChainAddress {
        ChainAddress(self.signer.address().into_array())
    }

    fn sign_digest(&self, digest: Hash32) -> Signature {
        let signature = self
            .signer
            .sign_hash_sync(&B256::new(digest.0))
            .expect("a key in memory signs every digest");
        Signature(signature.as_bytes())
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalKey").field(&self.address()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_does_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = LocalKey::generate().unwrap();
        key.write_plain(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let read = LocalKey::read_plain(&path).unwrap();
        assert_eq!(read.address(), key.address());
        let secret = text.trim().trim_start_matches("0x");
        assert!(!format!("{key:?}{:?}", key.alloy()).contains(secret));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            LocalKey::read_plain(&path),
            Err(KeyError::Exposed { mode: 0o640, .. })
        ));
        assert!(matches!(key.write_plain(&path), Err(KeyError::File { .. })));
    }

    #[test]
    fn the_account_and_signature_of_a_known_key() {
        // The key 1 and its account are in every list of test vectors.
        let mut bytes = [0; 32];
        assert!(matches!(
            LocalKey::from_bytes(bytes),
            Err(KeyError::OutOfRange)
        ));
        bytes[31] = 1;
        let key = LocalKey::from_bytes(bytes).unwrap();
        assert_eq!(
            key.address().to_string(),
            "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"
        );
        let digest = Hash32([7; 32]);
        let signature = key.sign_digest(digest);
        let recovered = alloy::primitives::Signature::from_raw_array(&signature.0)
            .unwrap()
            .recover_address_from_prehash(&B256::new(digest.0))
            .unwrap();
        assert_eq!(recovered.into_array(), key.address().0);
        assert!(matches!(signature.0[64], 27 | 28));
    }
}
