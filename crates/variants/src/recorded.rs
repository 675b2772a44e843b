//! What real clients said to the variants: `fixtures/verdicts/<client>.jsonl`, written by `cargo xtask interop verdicts`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Name of the chain.
    pub chain: String,
    /// Name of the variant.
    pub variant: String,
    /// [`crate::Variant::id`] of the bytes that were asked about.
    pub id: String,
    /// Whether the client imported it.
    pub import: bool,
    /// The client's own words about what is wrong, shortened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Whether the client voted for it; absent where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<bool>,
}

/// The folder of the files.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/verdicts"))
}

/// The lines of one client, by chain and variant.
///
/// # Errors
/// The file cannot be read, or a line is not one of these.
pub fn read(client: &str) -> Result<BTreeMap<(String, String), Line>, String> {
    let path = folder().join(format!("{client}.jsonl"));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.lines()
        .map(|text| {
            let line: Line = serde_json::from_str(text).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(((line.chain.clone(), line.variant.clone()), line))
        })
        .collect()
}

/// Replaces the lines of one client.
///
/// # Errors
/// The file cannot be written.
pub fn write<'a>(client: &str, lines: impl IntoIterator<Item = &'a Line>) -> Result<PathBuf, String> {
    let path = folder().join(format!("{client}.jsonl"));
    let failed = |error: &dyn std::fmt::Display| format!("writing {}: {error}", path.display());
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line).map_err(|error| failed(&error))?);
        text.push('\n');
    }
    std::fs::create_dir_all(folder()).and_then(|()| std::fs::write(&path, text)).map_err(|error| failed(&error))?;
    Ok(path)
}
