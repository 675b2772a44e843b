//! The node key on disk, in Besu's format: one line, 64 hex digits, written with 0x and without a newline.

use crate::config::{ConfigError, read_text};
use ipe_types::NodeKey;
use rand::RngCore;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes that a key file may have: a key is 66, the rest is room for spaces and a line end.
const MAX_KEY_BYTES: u64 = 1024;

const EXPECTED: &str = "expected one line of 64 hex digits, with or without 0x, of a valid secp256k1 private key";

/// Reads a key. The error names the file and what was expected, and never shows what was there.
pub fn read(path: &Path) -> Result<NodeKey, ConfigError> {
    let text = Zeroizing::new(read_text(path, MAX_KEY_BYTES)?);
    let wrong = |got: String| ConfigError::Content { path: path.to_owned(), message: format!("node key: {got}, {EXPECTED}") };
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    if lines != 1 {
        return Err(wrong(format!("got {lines} lines")));
    }
    let digits = text.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong(format!("got {} characters", digits.chars().count())));
    }
    let mut secret = Zeroizing::new([0; 32]);
    for (at, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| wrong("got no hex".to_owned()))?;
    }
    NodeKey::from_bytes(*secret).map_err(|_| wrong("got a number that is no private key".to_owned()))
}

/// Writes a key to a file that must not exist yet, readable by its owner only; makes the folder.
pub fn write_new(path: &Path, key: &NodeKey) -> Result<(), ConfigError> {
    let failed = |error: std::io::Error| ConfigError::Unwritable { path: path.to_owned(), reason: error.to_string() };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(failed)?;
    let text = Zeroizing::new(format!("0x{}", &*hex_of(key.secret_bytes().as_slice())));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// A new random key.
pub fn generate() -> NodeKey {
    loop {
        let mut secret = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(secret.as_mut_slice());
        // Zero and the group's order and above are no keys; the chance is 2^-128.
        if let Ok(key) = NodeKey::from_bytes(*secret) {
            return key;
        }
    }
}

/// The key of this file; made and written when the file does not exist. The flag says whether it was made.
pub fn load_or_create(path: &Path) -> Result<(NodeKey, bool), ConfigError> {
    if path.exists() {
        return Ok((read(path)?, false));
    }
    let key = generate();
    write_new(path, &key)?;
    Ok((key, true))
}

/// The mode of a key file that others than its owner can use.
pub fn exposed(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// What is wrong with the permissions of a key file, and what to do about it; none when nobody but its owner can use it.
pub fn exposure(path: &Path) -> Option<String> {
    exposed(path).map(|mode| {
        format!(
            "key file {} can be used by other users of this machine (mode {mode:04o}); whoever has the key can sign for this \
             node: chmod 600 {}",
            path.display(),
            path.display()
        )
    })
}

/// Room for all of it from the start, so that no copy is left behind by growing.
fn hex_of(bytes: &[u8]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        out.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("deep/key");
        let (key, made) = load_or_create(&path).expect("made");
        assert!(made);
        let (again, made) = load_or_create(&path).expect("read");
        assert!(!made);
        assert_eq!(key.address(), again.address());
        assert!(write_new(&path, &key).expect_err("exists").to_string().contains("key"));
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.starts_with("0x") && text.len() == 66);
    }

    #[test]
    fn a_key_that_others_can_read_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        write_new(&path, &generate()).expect("written");
        assert_eq!(exposure(&path), None, "what we write is its owner's");
        for mode in [0o644, 0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            let warning = exposure(&path).expect("told");
            assert!(
                warning.contains(&format!("chmod 600 {}", path.display())) && warning.contains(&format!("{mode:04o}")),
                "{warning}"
            );
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("set");
        assert_eq!(exposure(&path), None);
    }

    #[test]
    fn mistakes_name_the_file_and_never_the_key() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        let digits = "ab".repeat(32);
        for text in [
            String::new(),
            format!("{digits}\n{digits}"),
            digits[1..].to_owned(),
            format!("{}zz", &digits[2..]),
            "0".repeat(64),
            "f".repeat(64),
            "é".repeat(32),
        ] {
            std::fs::write(&path, &text).expect("written");
            let error = read(&path).expect_err(&text).to_string();
            assert!(error.contains("key") && error.contains("64 hex digits"), "{error}");
            assert!(text.is_empty() || !error.contains(&text), "{error}");
        }
        std::fs::write(&path, format!(" {digits}\n")).expect("written");
        assert!(read(&path).is_ok(), "spaces and a final newline are fine");
        assert!(read(&folder.path().join("none")).expect_err("absent").to_string().contains("none"));
    }
}
