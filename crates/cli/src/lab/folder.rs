//! The folder of a lab: where everything is, and its plan.

use super::file_failure;
use crate::failure::{Failure, Outcome};
use ipe_node::config::{MAX_SETTINGS_BYTES, read_text};
use ipe_node::{SIGNING_JOURNAL, key_file, signing_journal};
use ipe_provision::Plan;
use ipe_types::spec::ChainSpec;
use ipe_types::{NodeKey, Role};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a command waits for another one that changes the same lab.
const TURN: Duration = Duration::from_secs(120);

/// Bytes from a log's end that `logs` looks at for lines.
const LOG_TAIL: u64 = 4 * 1024 * 1024;

/// Bytes of a log that `logs --follow` prints in one go.
const LOG_CHUNK: usize = 64 * 1024;

/// A log that is larger than this when its node starts is set aside (one older log is kept), so that a lab left
/// running for weeks does not fill the disk with one file.
const LOG_LIMIT: u64 = 256 * 1024 * 1024;

/// A lab on disk.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// What the lab consists of.
    pub plan: Plan,
}

/// Held while a command changes which processes run.
pub struct Turn(#[allow(dead_code)] File);

impl Folder {
    fn plan_path(root: &Path) -> PathBuf {
        root.join("lab.json")
    }

    /// Whether there is a lab.
    pub fn exists(dir: &Path) -> bool {
        Folder::plan_path(dir).exists()
    }

    /// Reads the plan of a lab that is there. What it names is run, killed and deleted, so a folder that `ipe lab up` of
    /// this user cannot have made is refused.
    pub fn open(dir: &Path) -> Result<Folder, Failure> {
        if !Folder::exists(dir) {
            return Err(Failure::Usage(format!(
                "there is no lab in {}; make one with ipe lab up --dir {}",
                dir.display(),
                dir.display()
            )));
        }
        let root = fs::canonicalize(dir).map_err(|error| file_failure("find", dir, error))?;
        let path = Folder::plan_path(&root);
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            return Err(foreign(&root, format!("{} is no plain file", path.display())));
        }
        let text = read_text(&path, MAX_SETTINGS_BYTES)?;
        let plan = serde_json::from_str(&text)
            .map_err(|error| Failure::Failed(format!("{}: {error}; expected the plan that ipe lab up wrote", path.display())))?;
        let folder = Folder { root, plan };
        folder.check()?;
        Ok(folder)
    }

    /// Whether this is a lab of ours: the plan, the folders of its nodes and the files in them belong to this user and are
    /// plain files and folders (no links; a pipe would hold up whoever reads it), and the nodes have the names that the plan's
    /// own order gives them.
    fn check(&self) -> Outcome {
        let foreign = |what: String| foreign(&self.root, what);
        let order = &self.plan.order;
        order.check().map_err(|error| foreign(format!("its plan is not sound ({error})")))?;
        let names: Vec<String> = order.slots().into_iter().map(|slot| slot.name).collect();
        if let Some(node) = self.plan.nodes.iter().find(|node| !names.contains(&node.slot.name)) {
            return Err(foreign(format!("ipe lab up names no node {:?}", node.slot.name)));
        }
        if self.plan.nodes.len() != names.len() {
            return Err(foreign(format!("its plan has {} nodes where its order has {}", self.plan.nodes.len(), names.len())));
        }
        let me = fs::metadata("/proc/self").map_err(|error| file_failure("read", Path::new("/proc/self"), error))?.uid();
        let mut paths: Vec<(PathBuf, bool)> =
            ["accounts.json", "genesis.json", "network.json", "lab.lock"].map(|name| (self.root.join(name), false)).to_vec();
        for name in &names {
            let dir = self.node_dir(name);
            let files = [self.log(name), self.pid_file(name), self.settings(name), dir.join("key")];
            paths.extend(files.map(|file| (file, false)));
            paths.extend([dir, self.data_dir(name)].map(|dir| (dir, true)));
        }
        for (path, is_folder) in paths {
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => return Err(foreign(format!("{} is a link", path.display()))),
                Ok(found) if found.uid() != me => return Err(foreign(format!("{} belongs to another user", path.display()))),
                Ok(found) if is_folder && !found.is_dir() => return Err(foreign(format!("{} is no folder", path.display()))),
                Ok(found) if !is_folder && !found.is_file() => return Err(foreign(format!("{} is no plain file", path.display()))),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(file_failure("read", &path, error)),
            }
        }
        Ok(())
    }

    /// Writes a new lab: files, keys, and the plan last, so that what is half written is never taken for a lab.
    pub fn create(dir: &Path, plan: Plan, keys: &[NodeKey], accounts: &[NodeKey]) -> Result<Folder, Failure> {
        fs::create_dir_all(dir).map_err(|error| file_failure("make", dir, error))?;
        let mut entries = fs::read_dir(dir).map_err(|error| file_failure("read", dir, error))?;
        if entries.next().is_some() {
            return Err(Failure::Usage(format!(
                "--dir: {} has files but no lab.json; expected an empty folder or the folder of a lab",
                dir.display()
            )));
        }
        let root = fs::canonicalize(dir).map_err(|error| file_failure("find", dir, error))?;
        let files = plan.files().map_err(|error| Failure::failed("could not plan the lab", error))?;
        let spec = ChainSpec::parse(&plan.genesis).map_err(|error| Failure::failed("could not plan the lab", error))?;
        for file in files {
            let path = root.join(&file.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|error| file_failure("make", parent, error))?;
            }
            fs::write(&path, file.text).map_err(|error| file_failure("write", &path, error))?;
        }
        for (node, key) in plan.nodes.iter().zip(keys) {
            let dir = root.join(&node.slot.name);
            key_file::write_new(&dir.join("key"), key)?;
            if node.slot.role == Role::Validator {
                signing_journal::begin(&dir.join("data"), spec.genesis_hash(), key.address())
                    .map_err(|error| Failure::Failed(error.to_string()))?;
            }
        }
        let folder = Folder { root, plan };
        folder.write_accounts(accounts)?;
        let text =
            serde_json::to_string_pretty(&folder.plan).map_err(|error| Failure::failed("could not write the plan", error))?;
        let path = Folder::plan_path(&folder.root);
        let part = path.with_extension("json.part");
        fs::write(&part, text + "\n").map_err(|error| file_failure("write", &part, error))?;
        fs::rename(&part, &path).map_err(|error| file_failure("write", &path, error))?;
        Ok(folder)
    }

    fn write_accounts(&self, keys: &[NodeKey]) -> Outcome {
        let accounts: Map<String, Value> = self
            .plan
            .accounts
            .iter()
            .zip(keys)
            .map(|(account, key)| {
                let secret = alloy_primitives::B256::from(*key.secret_bytes());
                (account.name.clone(), json!({ "address": account.address, "privateKey": secret }))
            })
            .collect();
        let path = self.accounts();
        let text = format!("{:#}\n", Value::Object(accounts));
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| file_failure("write", &path, error))
    }

    /// Takes the accounts' file of a lab of an older release away from other users.
    pub fn close_accounts(&self) -> Outcome {
        let path = self.accounts();
        match fs::metadata(&path) {
            Ok(found) if found.mode() & 0o077 != 0 => fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
                .map_err(|error| file_failure("change the permissions of", &path, error)),
            _ => Ok(()),
        }
    }

    /// Folder of the whole lab.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Development accounts with their keys.
    pub fn accounts(&self) -> PathBuf {
        self.root.join("accounts.json")
    }

    /// Folder of one node.
    pub fn node_dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// What `wipe` deletes.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.node_dir(name).join("data")
    }

    /// Where the node's output goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.node_dir(name).join("node.log")
    }

    /// Which process the node is.
    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.node_dir(name).join("node.pid")
    }

    /// Configuration of the node.
    pub fn settings(&self, name: &str) -> PathBuf {
        self.node_dir(name).join("node.toml")
    }

    /// The named nodes, all when none is named.
    pub fn chosen(&self, names: &[String]) -> Result<Vec<String>, Failure> {
        let all = || self.plan.nodes.iter().map(|node| node.slot.name.clone());
        if names.is_empty() {
            return Ok(all().collect());
        }
        for name in names {
            if self.plan.node(name).is_none() {
                let known: Vec<String> = all().collect();
                return Err(Failure::Usage(format!("node {name:?} is not in this lab; expected one of {}", known.join(", "))));
            }
        }
        Ok(names.to_vec())
    }

    /// Waits until no other command changes this lab.
    pub fn lock(&self) -> Result<Turn, Failure> {
        let path = self.root.join("lab.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|error| file_failure("open", &path, error))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Turn(file)),
                Err(fs::TryLockError::WouldBlock) if began.elapsed() < TURN => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => {
                    return Err(Failure::Failed(format!(
                        "another ipe lab command is changing {}: {error}; wait for it to end",
                        self.root.display()
                    )));
                }
            }
        }
    }

    /// Deletes what a stopped node knows of the chain. The signing journal and what belongs to it stay, as the key does: a
    /// validator that forgot what it signed could sign something else for the same height.
    pub fn wipe(&self, name: &str) -> Outcome {
        let data = self.data_dir(name);
        let entries = match fs::read_dir(&data) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file_failure("read", &data, error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| file_failure("read", &data, error))?.path();
            if path.file_name().is_some_and(|file| file.as_encoded_bytes().starts_with(SIGNING_JOURNAL.as_bytes())) {
                continue;
            }
            delete(&path)?;
        }
        Ok(())
    }

    /// Opens a node's log for its next run.
    pub fn open_log(&self, name: &str) -> Result<File, Failure> {
        let path = self.log(name);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT) {
            let older = path.with_extension("log.1");
            fs::rename(&path, &older).map_err(|error| file_failure("set aside", &path, error))?;
        }
        let mut options = File::options();
        options.create(true).append(true).custom_flags(nix::libc::O_NOFOLLOW);
        options.open(&path).map_err(|error| file_failure("open", &path, error))
    }

    /// The last lines of a node's log; empty when there is none.
    pub fn log_tail(&self, name: &str, lines: usize) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(self.log(name))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL).read_to_end(&mut bytes)?;
            Ok(printable(&bytes))
        };
        let text = read().unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Prints the end of a node's log.
    pub fn logs(&self, name: &str, lines: usize, follow: bool) -> Outcome {
        let mut out = std::io::stdout().lock();
        // A reader that goes away (head, a closed pipe) ends the command without an error.
        if writeln!(out, "{}", self.log_tail(name, lines)).is_err() || !follow {
            return Ok(());
        }
        let path = self.log(name);
        let mut file = File::open(&path).map_err(|error| file_failure("open", &path, error))?;
        file.seek(SeekFrom::End(0)).map_err(|error| file_failure("read", &path, error))?;
        let mut chunk = vec![0; LOG_CHUNK];
        loop {
            match file.read(&mut chunk).map_err(|error| file_failure("read", &path, error))? {
                0 => std::thread::sleep(Duration::from_millis(200)),
                length if out.write_all(printable(&chunk[..length]).as_bytes()).and_then(|()| out.flush()).is_err() => {
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Deletes what [`Folder::create`] and the nodes wrote, and nothing else.
    pub fn remove(self) -> Outcome {
        let plan = Folder::plan_path(&self.root);
        fs::remove_file(&plan).map_err(|error| file_failure("delete", &plan, error))?;
        for node in &self.plan.nodes {
            let dir = self.node_dir(&node.slot.name);
            for name in ["data", "key", "node.toml", "node.log", "node.log.1", "node.pid"] {
                delete(&dir.join(name))?;
            }
            delete_empty(&dir);
        }
        for name in ["genesis.json", "network.json", "accounts.json", "lab.lock"] {
            // Already gone is as good.
            let _ = fs::remove_file(self.root.join(name));
        }
        delete_empty(&self.root);
        Ok(())
    }
}

fn foreign(root: &Path, what: String) -> Failure {
    Failure::Usage(format!("{} is no lab of ours: {what}; nothing was touched", root.display()))
}

/// The text without what a terminal would obey: whoever wrote the log may be somebody else.
fn printable(bytes: &[u8]) -> String {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    String::from_utf8_lossy(bytes).chars().map(|c| if harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Deletes a file, a link (not what it leads to), or a folder with what is in it; what is not there is as good.
fn delete(path: &Path) -> Outcome {
    let deleted = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match deleted {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file_failure("delete", path, error)),
        _ => Ok(()),
    }
}

/// Deletes a folder, and says so when something that no lab writes is left in it.
fn delete_empty(dir: &Path) {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            eprintln!("{} stays: it has files that no lab writes", dir.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
