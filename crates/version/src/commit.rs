// Shared by the build script, which uses it, and by the tests of the crate.

/// Variable that names the commit where git cannot be asked: 40 hexadecimal digits, followed by `-modified` when the sources differ.
pub const VARIABLE: &str = "IPE_COMMIT";

/// What is known of the sources.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// 40 lower-case hexadecimal digits, or empty when unknown.
    pub commit: String,
    /// Whether the sources differ from the commit.
    pub modified: bool,
    /// Why the commit is unknown; empty when it is known.
    pub unknown: &'static str,
}

/// Takes the first that is given: the variable, the file that `git archive` fills in, git.
///
/// Errors: the variable or git name no commit.
pub fn decide(
    variable: Option<&str>,
    file: &str,
    git: impl FnOnce() -> Result<(String, bool), &'static str>,
) -> Result<Source, String> {
    if let Some(given) = variable.map(str::trim).filter(|given| !given.is_empty()) {
        let (commit, modified) = match given.strip_suffix("-modified") {
            Some(commit) => (commit, true),
            None => (given, false),
        };
        let commit = hash(commit).ok_or_else(|| {
            format!("{VARIABLE} is \"{given}\", expected 40 hexadecimal digits, with -modified behind when the sources differ")
        })?;
        return Ok(Source { commit, modified, unknown: "" });
    }
    if let Some(commit) = hash(file.trim()) {
        return Ok(Source { commit, modified: false, unknown: "" });
    }
    match git() {
        Ok((commit, modified)) => {
            let commit =
                hash(&commit).ok_or_else(|| format!("git names the commit \"{commit}\", expected 40 hexadecimal digits"))?;
            Ok(Source { commit, modified, unknown: "" })
        }
        Err(unknown) => Ok(Source { commit: String::new(), modified: false, unknown }),
    }
}

fn hash(text: &str) -> Option<String> {
    (text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}
