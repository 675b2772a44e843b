//! Which version this is: number, commit, compiler, target. The only crate that changes with the commit; the command line uses it
//! and passes on what others show.
//!
//! The commit comes from the variable `IPE_COMMIT`, else from the file `COMMIT` beside this crate, which `git archive` fills in, else
//! in release builds from git. The same sources with the same commit give the same bytes.

#[cfg(test)]
mod commit;

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Number of the release, as `0.1.0`.
    pub version: &'static str,
    /// 40 hexadecimal digits, or why it is not known.
    pub commit: Result<&'static str, &'static str>,
    /// Whether the sources differ from the commit; false when it is not known.
    pub modified: bool,
    /// Version of the compiler, as `1.95.0`.
    pub rustc: &'static str,
    /// Target triple, as `x86_64-unknown-linux-gnu`.
    pub target: &'static str,
}

/// This build.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: match env!("IPE_BUILD_COMMIT") {
        commit if !commit.is_empty() => Ok(commit),
        _ => Err(env!("IPE_BUILD_UNKNOWN")),
    },
    modified: !env!("IPE_BUILD_MODIFIED").is_empty(),
    rustc: env!("IPE_BUILD_RUSTC"),
    target: env!("IPE_BUILD_TARGET"),
};

/// Digits of the commit in short forms.
const DIGITS: usize = 8;

impl Build {
    /// `0.1.0-1a2b3c4d`, with `-modified` behind when the sources differ; the number alone when the commit is not known.
    pub fn short(&self) -> String {
        match self.commit {
            Ok(commit) => {
                let digits = commit.get(..DIGITS).unwrap_or(commit);
                format!("{}-{digits}{}", self.version, if self.modified { "-modified" } else { "" })
            }
            Err(_) => self.version.to_owned(),
        }
    }

    /// The name that peers and JSON-RPC clients see: `ipe/v0.1.0-1a2b3c4d/linux-x86_64/rust-1.95.0`, in the shape of Besu's
    /// `besu/v25.5.0/linux-x86_64/openjdk-java-21` (`BesuInfo.version`). At most some 80 bytes.
    pub fn client(&self) -> String {
        format!("ipe/v{}/{}-{}/rust-{}", self.short(), std::env::consts::OS, std::env::consts::ARCH, self.rustc)
    }
}

#[cfg(test)]
mod tests {
    use super::commit::{Source, decide};
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";
    const NO_GIT: Result<(String, bool), &str> = Err("no git here");

    fn known(modified: bool) -> Result<Source, String> {
        Ok(Source { commit: HASH.to_owned(), modified, unknown: "" })
    }

    #[test]
    fn the_commit_is_taken_from_the_first_that_names_it() {
        let other = "f".repeat(40);
        assert_eq!(decide(Some(HASH), &other, || Ok((other.clone(), true))), known(false));
        assert_eq!(decide(Some(&format!("{HASH}-modified\n")), "", || NO_GIT), known(true));
        assert_eq!(decide(Some(&HASH.to_uppercase()), "", || NO_GIT), known(false));
        assert_eq!(decide(None, &format!("{HASH}\n"), || Ok((other.clone(), true))), known(false));
        assert_eq!(decide(Some(""), "$Format:%H$\n", || Ok((HASH.to_owned(), true))), known(true));
        let unknown = Source { commit: String::new(), modified: false, unknown: "no git here" };
        assert_eq!(decide(None, "$Format:%H$\n", || NO_GIT), Ok(unknown));
    }

    #[test]
    fn a_variable_that_names_no_commit_ends_the_build() {
        for wrong in ["v0.1.0", &HASH[1..], &HASH.replace('a', "g"), &format!("{HASH}-dirty")] {
            let error = decide(Some(wrong), HASH, || NO_GIT).expect_err("refused");
            assert!(error.contains(wrong) && error.contains("IPE_COMMIT"), "{error}");
        }
    }

    #[test]
    fn names_have_the_commit_when_it_is_known() {
        let build = Build { commit: Ok(HASH), modified: false, rustc: "1.95.0", version: "0.1.0", ..BUILD };
        assert_eq!(build.short(), "0.1.0-01234567");
        assert_eq!(Build { modified: true, ..build }.short(), "0.1.0-01234567-modified");
        assert_eq!(Build { commit: Err("why"), ..build }.short(), "0.1.0");
        let client = build.client();
        assert!(client.starts_with("ipe/v0.1.0-01234567/") && client.ends_with("/rust-1.95.0"), "{client}");
        assert_eq!(client.split('/').count(), 4);
        assert!(BUILD.client().len() <= 80, "{}", BUILD.client());
        assert!(!BUILD.rustc.is_empty() && !BUILD.target.is_empty());
    }
}
