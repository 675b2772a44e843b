//! Who signs: a key file or an encrypted keystore. A hardware module or a remote signer is one more kind of [`Signer`].

use super::keystore;
use crate::failure::Failure;
use alloy_primitives::{Address, B256, Signature};
use ipe_node::config::read_text;
use ipe_node::key_file;
use ipe_types::NodeKey;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes that a keystore or a password file may have.
const MAX_BYTES: u64 = 64 * 1024;

/// What signs transactions.
pub enum Signer {
    /// A key in this process's memory.
    Key(NodeKey),
}

impl Signer {
    /// Opens the file: one line of 64 hex digits, or a keystore of version 3 with its password's file.
    pub fn open(file: &Path, password: Option<&PathBuf>) -> Result<Signer, Failure> {
        if let Some(warning) = key_file::exposure(file) {
            eprintln!("ipe: {warning}");
        }
        let text = Zeroizing::new(read_text(file, MAX_BYTES)?);
        if !text.trim_start().starts_with('{') {
            return Ok(Signer::Key(key_file::read(file)?));
        }
        let password =
            password.ok_or_else(|| Failure::Usage(format!("{}: an encrypted keystore needs --password-file", file.display())))?;
        let secret = Zeroizing::new(read_text(password, MAX_BYTES)?);
        let secret = secret.lines().next().unwrap_or_default();
        let key =
            keystore::open(&text, secret.as_bytes()).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
        Ok(Signer::Key(key))
    }

    /// The account that signs.
    pub fn address(&self) -> Address {
        match self {
            Signer::Key(key) => key.address(),
        }
    }

    /// Signs a transaction's hash.
    pub fn sign(&self, hash: B256) -> Signature {
        match self {
            Signer::Key(key) => {
                let signature = key.sign(hash);
                let bytes = signature.as_slice();
                Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1)
            }
        }
    }
}
