//! Keys in encrypted files, as other wallets write and read them.
//!
//! ## Rule
//! scrypt makes 32 octets of the password; the first 16 encrypt the key by AES-128-CTR, the others and the ciphertext are
//! hashed by keccak-256, which tells a wrong password or a damaged file.
//!
//! ## Limits
//! Files with PBKDF2 instead of scrypt are refused, and so are parameters that would take more than 1 GiB of memory.
//!
//! ## Source
//! Web3 Secret Storage Definition, version 3; RFC 7914 (scrypt).

use aes::Aes128;
use alloy::primitives::{hex, keccak256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use edge_ports::Signer;
use scrypt::Params;
use serde::{Deserialize, Serialize};

use crate::keys::{KeyError, LocalKey};

/// Memory that a file's parameters may take, octets.
const MOST_MEMORY: u64 = 1 << 30;
/// Parallel chains that a file may ask for.
const MOST_PARALLEL: u32 = 16;

/// A file cannot be decrypted.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// Not JSON of version 3 of the format.
    #[error("not a keystore of version 3")]
    Malformed(#[source] serde_json::Error),
    /// Another cipher, key derivation or version than this program knows, or parameters out of range.
    #[error("{field} is none that this program takes")]
    Unsupported {
        /// Which part.
        field: &'static str,
    },
    /// The password is wrong, or the file damaged.
    #[error("the password is wrong, or the file is damaged")]
    WrongPassword,
    /// What was decrypted is no key, or not that of the file's account.
    #[error("what was decrypted is not the key of this account")]
    NotTheKey,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Debug, Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: serde_json::Value,
    mac: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Scrypt {
    dklen: u32,
    n: u64,
    p: u32,
    r: u32,
    salt: String,
}

/// The JSON of `key`, encrypted by `password`; `log_n` is the cost, [`Params::RECOMMENDED_LOG_N`] where it matters.
pub(crate) fn encrypt(key: &LocalKey, password: &[u8], log_n: u8) -> Result<String, KeyError> {
    let mut random = [0; 64];
    getrandom::fill(&mut random).map_err(KeyError::Random)?;
    let (salt, rest) = random.split_at(32);
    let (iv, id) = rest.split_at(16);
    let kdf = Scrypt {
        dklen: 32,
        n: 1 << log_n,
        p: Params::RECOMMENDED_P,
        r: Params::RECOMMENDED_R,
        salt: hex::encode(salt),
    };
    let derived = derive(&kdf, password).expect("parameters of our own are in range");
    let mut text = key.alloy().to_bytes().0;
    crypt(&derived, &array(iv), &mut text);
    let file = File {
        version: 3,
        id: uuid(array(id)),
        address: Some(hex::encode(key.address().0)),
        crypto: Crypto {
            cipher: "aes-128-ctr".to_owned(),
            cipherparams: CipherParams {
                iv: hex::encode(iv),
            },
            ciphertext: hex::encode(text),
            kdf: "scrypt".to_owned(),
            kdfparams: serde_json::to_value(&kdf).expect("plain data"),
            mac: hex::encode(mac(&derived, &text)),
        },
    };
    Ok(serde_json::to_string(&file).expect("plain data"))
}

/// The key in such JSON.
pub(crate) fn decrypt(json: &str, password: &[u8]) -> Result<LocalKey, KeystoreError> {
    let file: File = serde_json::from_str(json).map_err(KeystoreError::Malformed)?;
    let unsupported = |field| KeystoreError::Unsupported { field };
    let crypto = file.crypto;
    if file.version != 3 {
        return Err(unsupported("version"));
    }
    if crypto.cipher != "aes-128-ctr" {
        return Err(unsupported("cipher"));
    }
    if crypto.kdf != "scrypt" {
        return Err(unsupported("kdf"));
    }
    let kdf: Scrypt = serde_json::from_value(crypto.kdfparams).map_err(KeystoreError::Malformed)?;
    let derived = derive(&kdf, password)?;
    let iv: [u8; 16] = octets(&crypto.cipherparams.iv).ok_or(unsupported("cipherparams.iv"))?;
    let mut text: [u8; 32] = octets(&crypto.ciphertext).ok_or(unsupported("ciphertext"))?;
    let told: [u8; 32] = octets(&crypto.mac).ok_or(unsupported("mac"))?;
    if mac(&derived, &text) != told {
        return Err(KeystoreError::WrongPassword);
    }
    crypt(&derived, &iv, &mut text);
    let key = LocalKey::from_bytes(text).map_err(|_| KeystoreError::NotTheKey)?;
    let is_its = file.address.is_none_or(|address| {
        let told = address.trim_start_matches("0x").to_ascii_lowercase();
        told == hex::encode(key.address().0)
    });
    if is_its {
        Ok(key)
    } else {
        Err(KeystoreError::NotTheKey)
    }
}

/// The account that the file says it has the key of; anybody can write anything there.
pub(crate) fn told_address(json: &str) -> Option<String> {
    let file: File = serde_json::from_str(json).ok()?;
    file.address
}

fn derive(kdf: &Scrypt, password: &[u8]) -> Result<[u8; 32], KeystoreError> {
    let unsupported = |field| KeystoreError::Unsupported { field };
    let memory = kdf.n.saturating_mul(u64::from(kdf.r)).saturating_mul(128);
    if !kdf.n.is_power_of_two() || kdf.n < 2 || memory > MOST_MEMORY || kdf.p > MOST_PARALLEL {
        return Err(unsupported("kdfparams"));
    }
    if kdf.dklen != 32 {
        return Err(unsupported("kdfparams.dklen"));
    }
    let log_n = u8::try_from(kdf.n.trailing_zeros()).map_err(|_| unsupported("kdfparams.n"))?;
    let params = Params::new(log_n, kdf.r, kdf.p).map_err(|_| unsupported("kdfparams"))?;
    let salt = hex::decode(&kdf.salt).map_err(|_| unsupported("kdfparams.salt"))?;
    let mut derived = [0; 32];
    scrypt::scrypt(password, &salt, &params, &mut derived)
        .map_err(|_| unsupported("kdfparams.dklen"))?;
    Ok(derived)
}

/// Encrypts or decrypts, which is the same in this mode.
fn crypt(derived: &[u8; 32], iv: &[u8; 16], text: &mut [u8]) {
    let key: [u8; 16] = array(&derived[..16]);
    Ctr128BE::<Aes128>::new(&key.into(), &(*iv).into()).apply_keystream(text);
}

fn mac(derived: &[u8; 32], ciphertext: &[u8]) -> [u8; 32] {
    keccak256([&derived[16..], ciphertext].concat()).0
}

/// A random UUID (RFC 9562, version 4).
fn uuid(mut octets: [u8; 16]) -> String {
    octets[6] = octets[6] & 0x0f | 0x40;
    octets[8] = octets[8] & 0x3f | 0x80;
    let text = hex::encode(octets);
    let parts = [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    ];
    parts.join("-")
}

fn array<const N: usize>(octets: &[u8]) -> [u8; N] {
    octets.try_into().expect("cut to this length")
}

fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example with scrypt of the Web3 Secret Storage Definition.
    const EXAMPLE: &str = r#"{"crypto":{"cipher":"aes-128-ctr",
        "cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf":"scrypt","kdfparams":{"dklen":32,"n":262144,"r":1,"p":8,
        "salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
        "mac":"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;

    #[test]
    fn the_example_of_the_definition_is_decrypted() {
        let key = decrypt(EXAMPLE, b"testpassword").unwrap();
        let secret = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
        assert_eq!(hex::encode(key.alloy().to_bytes()), secret);
    }

    #[test]
    fn what_is_encrypted_is_decrypted_by_its_password_only() {
        let key = LocalKey::generate().unwrap();
        let json = encrypt(&key, b"correct horse", 4).unwrap();
        assert!(!json.contains(&hex::encode(key.alloy().to_bytes())));
        let read = decrypt(&json, b"correct horse").unwrap();
        assert_eq!(read.address(), key.address());
        let told = decrypt(&json, b"correct hors");
        assert!(
            matches!(told, Err(KeystoreError::WrongPassword)),
            "{told:?}"
        );
        let other = json.replace(&hex::encode(key.address().0), &"11".repeat(20));
        let told = decrypt(&other, b"correct horse");
        assert!(matches!(told, Err(KeystoreError::NotTheKey)), "{told:?}");
    }

    #[test]
    fn files_that_ask_for_too_much_or_the_unknown_are_refused() {
        for (from, to) in [
            ("262144", "1099511627776"),
            ("262144", "262143"),
            ("\"p\":8", "\"p\":4000000000"),
            ("scrypt", "pbkdf2"),
            ("\"version\":3", "\"version\":1"),
            ("\"iv\":\"83", "\"iv\":\""),
        ] {
            let changed = EXAMPLE.replace(from, to);
            let told = decrypt(&changed, b"testpassword");
            assert!(
                matches!(told, Err(KeystoreError::Unsupported { .. })),
                "{to}: {told:?}"
            );
        }
        let told = decrypt("{}", b"");
        assert!(matches!(told, Err(KeystoreError::Malformed(_))), "{told:?}");
    }
}
