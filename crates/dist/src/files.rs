//! What an installed package consists of: every file with its place, the same in each format.

use std::path::Path;

use crate::{Release, assets, fail};

/// A file of a package.
pub struct File {
    /// Absolute path, as `/usr/bin/ipe`.
    pub path: String,
    /// Permissions, as 0o755.
    pub mode: u32,
    /// Contents.
    pub bytes: Vec<u8>,
    /// What package managers are told about it.
    pub kind: Kind,
}

/// What a file is to a package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Replaced by an upgrade.
    Program,
    /// The operator's: an upgrade keeps what was changed.
    Setting,
    /// Text to read.
    Document,
}

/// Every file, by path.
///
/// Errors: one cannot be read.
pub fn all(release: &Release, binary: &Path) -> Result<Vec<File>, String> {
    let mut files = vec![
        file("/usr/bin/ipe", 0o755, read(binary)?, Kind::Program),
        text("/usr/lib/systemd/system/ipe@.service", assets::UNIT, Kind::Program),
        text("/usr/lib/sysusers.d/ipe.conf", assets::SYSUSERS, Kind::Program),
        text("/etc/ipe/observer.toml.example", assets::OBSERVER, Kind::Setting),
    ];
    for (shell, path) in [
        ("bash", "/usr/share/bash-completion/completions/ipe"),
        ("zsh", "/usr/share/zsh/site-functions/_ipe"),
        ("fish", "/usr/share/fish/vendor_completions.d/ipe.fish"),
    ] {
        let script = crate::run(std::process::Command::new(binary).args(["completions", shell]))?;
        files.push(file(path, 0o644, script, Kind::Program));
    }
    let pages = release.folder.join("man");
    let _ = std::fs::remove_dir_all(&pages);
    crate::run(std::process::Command::new(binary).arg("manual").arg(&pages))?;
    for (name, bytes) in children(&pages)? {
        files.push(file(&format!("/usr/share/man/man1/{name}.gz"), 0o644, gzip(&bytes)?, Kind::Document));
    }
    std::fs::remove_dir_all(&pages).map_err(fail("remove", &pages))?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE", "CHANGELOG.md"] {
        files.push(file(&format!("/usr/share/doc/ipe/{name}"), 0o644, read(&release.source.join(name))?, Kind::Document));
    }
    for folder in ["docs", "docs/pt"] {
        for (name, bytes) in children(&release.source.join(folder))? {
            if name.ends_with(".md") {
                let folder = folder.trim_start_matches("docs");
                files.push(file(&format!("/usr/share/doc/ipe{folder}/{name}"), 0o644, bytes, Kind::Document));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The folders that hold `files`, each once and after the one it is in.
pub fn folders(files: &[File]) -> Vec<String> {
    let mut folders = std::collections::BTreeSet::new();
    for file in files {
        let mut path = file.path.as_str();
        while let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            folders.insert(parent.to_owned());
            path = parent;
        }
    }
    folders.into_iter().collect()
}

/// Compressed, without a name or a time: the same bytes give the same bytes.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).and_then(|()| encoder.finish()).map_err(|error| format!("gzip: {error}"))
}

/// A tar archive whose entries belong to root and have the time of the release.
pub struct Tar {
    builder: tar::Builder<Vec<u8>>,
    time: u64,
}

impl Tar {
    /// An empty archive; `time` in seconds since 1970.
    pub fn new(time: u64) -> Self {
        Tar { builder: tar::Builder::new(Vec::new()), time }
    }

    /// A file; `path` is relative.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), String> {
        self.entry(path, mode, 0, tar::EntryType::Regular, bytes)
    }

    /// A folder of user and group `owner`.
    pub fn folder(&mut self, path: &str, mode: u32, owner: u64) -> Result<(), String> {
        self.entry(&format!("{}/", path.trim_end_matches('/')), mode, owner, tar::EntryType::Directory, &[])
    }

    fn entry(&mut self, path: &str, mode: u32, owner: u64, kind: tar::EntryType, bytes: &[u8]) -> Result<(), String> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(self.time);
        header.set_size(bytes.len() as u64);
        self.builder.append_data(&mut header, path, bytes).map_err(|error| format!("tar entry {path}: {error}"))
    }

    /// The archive's bytes.
    pub fn end(self) -> Result<Vec<u8>, String> {
        self.builder.into_inner().map_err(|error| format!("tar: {error}"))
    }
}

fn file(path: &str, mode: u32, bytes: Vec<u8>, kind: Kind) -> File {
    File { path: path.to_owned(), mode, bytes, kind }
}

fn text(path: &str, text: &str, kind: Kind) -> File {
    file(path, 0o644, text.as_bytes().to_vec(), kind)
}

/// Contents of a file.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(fail("read", path))
}

/// Files right inside of a folder, by name.
fn children(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail("read", folder))?.flatten().filter(|entry| entry.path().is_file()) {
        files.push((entry.file_name().to_string_lossy().into_owned(), read(&entry.path())?));
    }
    files.sort();
    Ok(files)
}
