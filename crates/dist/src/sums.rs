//! Checksums, signatures, and the notes of a release.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::files::read;
use crate::{Release, fail};

/// SHA-256 as hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `SHA256SUMS` of the files in the release's folder, in the form of sha256sum(1).
pub fn sums(artefacts: &[(String, Vec<u8>)]) -> String {
    let mut lines: Vec<String> = artefacts.iter().map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes))).collect();
    lines.sort_by(|a, b| a[66..].cmp(&b[66..]));
    lines.concat()
}

/// Signs `SHA256SUMS` with a key of minisign; `MINISIGN_PASSWORD` opens it.
pub fn sign(release: &Release, key: &Path, sums: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(key).map_err(fail("read the key", key))?;
    let wrong = |error: minisign::PError| {
        format!("key {}: {error} (MINISIGN_PASSWORD has the password of an encrypted key)", key.display())
    };
    let sealed = minisign::SecretKeyBox::from_string(&text).map_err(wrong)?;
    let secret = match std::env::var("MINISIGN_PASSWORD") {
        Ok(password) => sealed.into_secret_key(Some(password)),
        Err(_) => sealed.into_unencrypted_secret_key(),
    }
    .map_err(wrong)?;
    let comment = format!("ipe {} commit {}", release.label, release.commit);
    let signed = minisign::sign(None, &secret, sums.as_bytes(), Some(&comment), Some("signature of SHA256SUMS")).map_err(wrong)?;
    let public = minisign::PublicKey::from_secret_key(&secret).map_err(wrong)?;
    minisign::verify(&public, &signed, std::io::Cursor::new(sums), true, false, false).map_err(wrong)?;
    Ok(signed.into_string())
}

/// The section of the changelog for this version, or what is unreleased.
pub fn notes(release: &Release) -> Result<String, String> {
    let path = release.source.join("CHANGELOG.md");
    let text = String::from_utf8(read(&path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    section(&text, &release.version)
        .or_else(|| section(&text, "Unreleased"))
        .ok_or_else(|| format!("{}: neither a section {} nor Unreleased", path.display(), release.version))
        .map(|section| format!("# Ipê {}\n\n{section}", release.label))
}

fn section(text: &str, title: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| {
        !line.strip_prefix("## ").is_some_and(|rest| rest.trim_start_matches('[').trim_start_matches('v').starts_with(title))
    });
    lines.next()?;
    let body: Vec<&str> = lines.take_while(|line| !line.starts_with("## ")).collect();
    Some(body.join("\n").trim().to_owned() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let text = "# Changelog\n\n## Unreleased\n\nnew\n\n## 0.2.0 (2026-01-02)\n\n### Fixed\n- two\n\n## 0.1.0\n- one\n";
        assert_eq!(section(text, "0.2.0").as_deref(), Some("### Fixed\n- two\n"));
        assert_eq!(section(text, "0.1.0").as_deref(), Some("- one\n"));
        assert_eq!(section(text, "Unreleased").as_deref(), Some("new\n"));
        assert_eq!(section(text, "0.3.0"), None);
    }

    #[test]
    fn sums_are_as_of_sha256sum() {
        let list = sums(&[("b".to_owned(), b"abc".to_vec()), ("a".to_owned(), Vec::new())]);
        assert_eq!(
            list,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n"
        );
    }
}
