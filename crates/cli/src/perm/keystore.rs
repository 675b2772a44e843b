//! Encrypted keystores of version 3 (Web3 Secret Storage), as geth, ethers and wallets write them.

use aes::cipher::{KeyIvInit, StreamCipher};
use alloy_primitives::keccak256;
use ipe_types::NodeKey;
use serde::Deserialize;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// Most memory that a key derivation may ask for: scrypt with n = 262,144 and r = 8, as wallets use, takes 256 MiB.
const MAX_SCRYPT_BYTES: u64 = 512 * 1024 * 1024;
/// Most rounds of PBKDF2; wallets use 262,144.
const MAX_ROUNDS: u32 = 10_000_000;

#[derive(Deserialize)]
struct File {
    version: u32,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Deserialize)]
struct Crypto {
    cipher: String,
    ciphertext: String,
    cipherparams: CipherParams,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Deserialize)]
struct KdfParams {
    dklen: u32,
    salt: String,
    n: Option<u64>,
    r: Option<u32>,
    p: Option<u32>,
    c: Option<u32>,
    prf: Option<String>,
}

/// Decrypts a keystore.
///
/// # Errors
/// A sentence: not a keystore of version 3, a derivation that asks for too much, or a wrong password. It never shows what was there.
pub fn open(text: &str, password: &[u8]) -> Result<NodeKey, String> {
    let file: File = serde_json::from_str(text).map_err(|error| format!("no keystore of version 3: {error}"))?;
    if file.version != 3 {
        return Err(format!("a keystore of version {}, expected 3", file.version));
    }
    let crypto = file.crypto;
    if crypto.cipher != "aes-128-ctr" {
        return Err(format!("cipher {:?}, expected aes-128-ctr", crypto.cipher));
    }
    let bytes = |name: &str, text: &str, expected: usize| {
        let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|_| format!("{name}: no hex"))?;
        if bytes.len() == expected { Ok(bytes) } else { Err(format!("{name}: {} bytes, expected {expected}", bytes.len())) }
    };
    let sealed = bytes("ciphertext", &crypto.ciphertext, 32)?;
    let iv = bytes("iv", &crypto.cipherparams.iv, 16)?;
    let mac = bytes("mac", &crypto.mac, 32)?;
    let derived = derive(&crypto, password)?;
    let expected = keccak256([&derived[16..32], &sealed].concat());
    if expected.as_slice() != mac.as_slice() {
        return Err("the password is not the one that it was encrypted with".to_owned());
    }
    let mut secret = Zeroizing::new([0_u8; 32]);
    secret.copy_from_slice(&sealed);
    let mut cipher = ctr::Ctr128BE::<aes::Aes128>::new_from_slices(&derived[..16], &iv).map_err(|error| error.to_string())?;
    cipher.apply_keystream(secret.as_mut_slice());
    NodeKey::from_bytes(*secret).map_err(|_| "what it holds is no private key".to_owned())
}

fn derive(crypto: &Crypto, password: &[u8]) -> Result<Zeroizing<[u8; 32]>, String> {
    let params = &crypto.kdfparams;
    if params.dklen != 32 {
        return Err(format!("a derived key of {} bytes, expected 32", params.dklen));
    }
    let salt = hex::decode(params.salt.strip_prefix("0x").unwrap_or(&params.salt)).map_err(|_| "salt: no hex".to_owned())?;
    let mut derived = Zeroizing::new([0_u8; 32]);
    match crypto.kdf.as_str() {
        "scrypt" => {
            let (n, r, p) = (params.n.unwrap_or(0), params.r.unwrap_or(0), params.p.unwrap_or(0));
            let memory = n.saturating_mul(u64::from(r)).saturating_mul(128);
            if !n.is_power_of_two() || n < 2 || r == 0 || p == 0 || p > 16 || memory > MAX_SCRYPT_BYTES {
                return Err(format!("scrypt with n {n}, r {r}, p {p}: expected n a power of two and at most 512 MiB of memory"));
            }
            let params = scrypt::Params::new(n.trailing_zeros() as u8, r, p).map_err(|error| format!("scrypt: {error}"))?;
            scrypt::scrypt(password, &salt, &params, derived.as_mut_slice()).map_err(|error| format!("scrypt: {error}"))?;
        }
        "pbkdf2" => {
            if params.prf.as_deref() != Some("hmac-sha256") {
                return Err(format!("pbkdf2 with {:?}, expected hmac-sha256", params.prf.as_deref().unwrap_or_default()));
            }
            let rounds = params.c.filter(|rounds| *rounds <= MAX_ROUNDS).and_then(NonZeroU32::new);
            let rounds = rounds.ok_or_else(|| format!("pbkdf2 of {:?} rounds, expected 1 to {MAX_ROUNDS}", params.c))?;
            aws_lc_rs::pbkdf2::derive(aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password, derived.as_mut_slice());
        }
        other => return Err(format!("key derivation {other:?}, expected scrypt or pbkdf2")),
    }
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two vectors of the Web3 Secret Storage definition: password `testpassword`, the secret
    /// 7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d.
    const PBKDF2: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
        "kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    const SCRYPT: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c","kdf":"scrypt",
        "kdfparams":{"dklen":32,"n":262144,"p":8,"r":1,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
        "mac":"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;

    #[test]
    fn keystores_of_both_kinds_open() {
        for text in [PBKDF2, SCRYPT] {
            let key = open(text, b"testpassword").unwrap();
            assert_eq!(
                hex::encode(key.secret_bytes().as_slice()),
                "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
            );
        }
    }

    #[test]
    fn faults_are_named_and_nothing_is_computed_without_a_bound() {
        assert!(open(PBKDF2, b"other").unwrap_err().contains("password"));
        assert!(open("{}", b"").unwrap_err().contains("version 3"));
        for (from, to, said) in [
            ("\"version\":3", "\"version\":4", "expected 3"),
            ("aes-128-ctr", "aes-256-gcm", "aes-128-ctr"),
            ("\"n\":262144", "\"n\":1099511627776", "512 MiB"),
            ("\"n\":262144", "\"n\":262143", "power of two"),
            ("\"dklen\":32", "\"dklen\":4294967295", "expected 32"),
            ("\"kdf\":\"scrypt\"", "\"kdf\":\"argon2\"", "argon2"),
        ] {
            let error = open(&SCRYPT.replace(from, to), b"testpassword").unwrap_err();
            assert!(error.contains(said), "{to}: {error}");
        }
        assert!(open(&PBKDF2.replace("262144", "4000000000"), b"x").unwrap_err().contains("10000000"));
    }
}
