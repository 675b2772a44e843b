//! Files of an operator that are read again when they change. A file that cannot be used changes nothing: at start the node
//! refuses to run, later what was read before stays in force, with an error in the log and in a metric.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} ({}): {reason}", paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
pub struct Unusable {
    what: &'static str,
    paths: Vec<PathBuf>,
    reason: String,
}

/// Contents of files, in the order in which they were named; forgotten for good after use.
pub(crate) type Contents = Vec<Zeroizing<Vec<u8>>>;

/// Some files that only together mean something.
#[derive(Debug)]
pub(crate) struct Watched {
    what: &'static str,
    files: Vec<(PathBuf, u64)>,
    /// Of the contents that were looked at last, or of the reason why there were none.
    seen: [u8; 32],
}

impl Watched {
    /// `what` is their name in the log and the metric; each file has a bound in bytes.
    pub(crate) fn new(what: &'static str, files: Vec<(PathBuf, u64)>) -> Self {
        Self { what, files, seen: [0; 32] }
    }

    /// Reads them, and makes of them what they mean.
    ///
    /// # Errors
    /// A file cannot be read or is too long, and what `make` says.
    pub(crate) fn first<T>(&mut self, make: impl FnOnce(&Contents) -> Result<T, String>) -> Result<T, Unusable> {
        let (seen, contents) = self.look();
        self.seen = seen;
        contents.and_then(|contents| make(&contents)).map_err(|reason| self.unusable(reason))
    }

    /// What they mean, when they have changed since they were looked at last and can be used. What cannot is told once.
    pub(crate) fn changed<T>(&mut self, make: impl FnOnce(&Contents) -> Result<T, String>) -> Option<T> {
        let (seen, contents) = self.look();
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        match contents.and_then(|contents| make(&contents)) {
            Ok(made) => {
                tracing::info!(what = self.what, "changed files were read and are in force");
                Some(made)
            }
            Err(reason) => {
                let error = self.unusable(reason);
                tracing::error!(%error, "changed files cannot be used: what was read before stays in force; correct them, a restart is not needed");
                metrics::counter!("ipe_rpc_reload_failures_total", "what" => self.what).increment(1);
                None
            }
        }
    }

    fn unusable(&self, reason: String) -> Unusable {
        Unusable { what: self.what, paths: self.files.iter().map(|(path, _)| path.clone()).collect(), reason }
    }

    fn look(&self) -> ([u8; 32], Result<Contents, String>) {
        let mut digest = Sha256::new();
        let mut all = Ok(Vec::new());
        for (path, limit) in &self.files {
            match read(path, *limit) {
                Ok(bytes) => {
                    digest.update((bytes.len() as u64).to_be_bytes());
                    digest.update(&*bytes);
                    if let Ok(all) = &mut all {
                        all.push(bytes);
                    }
                }
                Err(reason) => {
                    digest.update(&reason);
                    all = all.and(Err(reason));
                }
            }
        }
        (digest.finalize().into(), all)
    }
}

fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let wrong = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let file = std::fs::File::open(path).map_err(wrong)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(limit + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > limit {
        return Err(format!("{} has more than {limit} bytes", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_changed_is_read_and_what_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = Watched::new("test", vec![(path.clone(), 8)]);
        let text = |contents: &Contents| match &*contents[0] as &[u8] {
            b"wrong" => Err("it is wrong".to_owned()),
            text => Ok(String::from_utf8(text.to_vec()).unwrap()),
        };
        assert!(file.first(text).unwrap_err().to_string().contains("file cannot be read"));
        std::fs::write(&path, "one").unwrap();
        assert_eq!(file.first(text).unwrap(), "one");
        assert_eq!(file.changed(text), None);
        std::fs::write(&path, "two").unwrap();
        assert_eq!(file.changed(text).unwrap(), "two");
        for _ in 0..2 {
            std::fs::write(&path, "wrong").unwrap();
            assert_eq!(file.changed(text), None);
        }
        std::fs::write(&path, "123456789").unwrap();
        assert_eq!(file.changed(text), None, "too long");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.changed(text), None);
        std::fs::write(&path, "two").unwrap();
        assert_eq!(file.changed(text).unwrap(), "two", "there again");
    }
}
