//! The local allow-lists: which nodes this one connects to, and whose transactions it takes (spec/besu-compat.md 4, 6).
//!
//! Each list is a key of a TOML file in Besu's format, which `perm_*` methods rewrite and which is read again on demand
//! or on SIGHUP. A file that cannot be used never changes a list: at start the node refuses to run, later the old list
//! stays in force.

use std::collections::HashSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipe_engine::control::{AllowList, AllowListError as Refused};
use ipe_engine::pool::Pool;
use ipe_p2p::{Candidate, NetworkHandle};
use ipe_types::{Address, Enode, NodeId};
use parking_lot::{Mutex, RwLock};

use crate::config::{ConfigError, MAX_SETTINGS_BYTES, NodeConfig, read_text};
use crate::driver::steady_us;

/// Key of the list of senders.
const ACCOUNTS_KEY: &str = "accounts-allowlist";
/// Key of the list of nodes.
const NODES_KEY: &str = "nodes-allowlist";
/// Addresses kept of one name: a member's name has one or two.
const MAX_ADDRESSES: usize = 8;

/// How often names are looked up: as long as Besu's Java caches a name's address.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);

/// A permitted node.
#[derive(Clone, Debug)]
struct NodeEntry {
    enode: Enode,
    /// Where its hosts are: literal addresses at once, names after [`NodeList::resolve`].
    addresses: Vec<IpAddr>,
}

impl NodeEntry {
    fn new(enode: Enode) -> Self {
        let addresses = enode.hosts.iter().filter_map(|host| host.parse().ok()).collect();
        Self { enode, addresses }
    }
}

/// The nodes that may be connected.
pub(crate) struct NodeList {
    file: PathBuf,
    own: NodeId,
    /// Boots and static nodes, which cannot be removed.
    fixed: Vec<Enode>,
    entries: RwLock<Vec<NodeEntry>>,
    permitted: AtomicU64,
    refused: AtomicU64,
}

/// The senders whose transactions are taken.
pub(crate) struct AccountList {
    file: PathBuf,
    entries: Mutex<Vec<Address>>,
    pool: Arc<Mutex<Pool>>,
}

/// The lists that are in force.
#[derive(Clone, Default)]
pub(crate) struct Permissions {
    pub(crate) nodes: Option<Arc<NodeList>>,
    pub(crate) accounts: Option<Arc<AccountList>>,
    /// Held while a list is changed, so that an operator's call and a signal take turns.
    changing: Arc<Mutex<()>>,
}

impl Permissions {
    /// Reads the lists that the configuration enables, and puts the senders into force. `fixed` are the nodes that this
    /// one stays connected to.
    ///
    /// # Errors
    /// A file cannot be read, lacks the list or has a bad entry; a fixed node is not permitted.
    pub(crate) fn open(config: &NodeConfig, own: NodeId, fixed: &[Enode], pool: &Arc<Mutex<Pool>>) -> Result<Self, ConfigError> {
        let nodes = config.nodes_list.enabled.then(|| {
            let file = config.allow_list_path(&config.nodes_list);
            let entries: Vec<NodeEntry> = read_nodes(&file)?.into_iter().map(NodeEntry::new).collect();
            let absent: Vec<String> = fixed
                .iter()
                .filter(|enode| enode.id != own && !entries.iter().any(|entry| same_listener(&entry.enode, enode)))
                .map(ToString::to_string)
                .collect();
            if !absent.is_empty() {
                let message = format!(
                    "boot or static nodes that are not in {NODES_KEY}: {}; add them, or they could never be connected",
                    absent.join(", ")
                );
                return Err(ConfigError::Content { path: file, message });
            }
            Ok(Arc::new(NodeList {
                file,
                own,
                fixed: fixed.to_vec(),
                entries: RwLock::new(entries),
                permitted: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }))
        });
        let accounts = config.accounts_list.enabled.then(|| {
            let file = config.allow_list_path(&config.accounts_list);
            let entries = read_accounts(&file)?;
            permit(pool, &entries);
            Ok::<_, ConfigError>(Arc::new(AccountList { file, entries: Mutex::new(entries), pool: pool.clone() }))
        });
        Ok(Self { nodes: nodes.transpose()?, accounts: accounts.transpose()?, changing: Arc::default() })
    }

    /// Whether any list is in force.
    pub(crate) fn any(&self) -> bool {
        self.nodes.is_some() || self.accounts.is_some()
    }

    /// The entries of a list, as they stand in its file.
    pub(crate) fn get(&self, list: AllowList) -> Result<Vec<String>, Refused> {
        Ok(match list {
            AllowList::Accounts => texts(&self.accounts.as_ref().ok_or(Refused::NotEnabled)?.entries.lock()),
            AllowList::Nodes => self.nodes.as_ref().ok_or(Refused::NotEnabled)?.texts(),
        })
    }

    /// Adds entries, all or none, and writes the file. Blocks on the disk.
    pub(crate) fn add(&self, list: AllowList, given: &[String]) -> Result<(), Refused> {
        let _turn = self.changing.lock();
        match list {
            AllowList::Accounts => self.accounts.as_ref().ok_or(Refused::NotEnabled)?.add(given),
            AllowList::Nodes => self.nodes.as_ref().ok_or(Refused::NotEnabled)?.add(given),
        }
    }

    /// Removes entries, all or none, and writes the file. Blocks on the disk.
    pub(crate) fn remove(&self, list: AllowList, given: &[String]) -> Result<(), Refused> {
        let _turn = self.changing.lock();
        match list {
            AllowList::Accounts => self.accounts.as_ref().ok_or(Refused::NotEnabled)?.remove(given),
            AllowList::Nodes => self.nodes.as_ref().ok_or(Refused::NotEnabled)?.remove(given),
        }
    }

    /// Reads the files again. Both are read before either is put into force, so that an error changes nothing.
    pub(crate) fn reload(&self) -> Result<(), Refused> {
        if !self.any() {
            return Err(Refused::NotEnabled);
        }
        let _turn = self.changing.lock();
        let read = || -> Result<_, ConfigError> {
            let accounts = self.accounts.as_ref().map(|list| read_accounts(&list.file)).transpose()?;
            let nodes = self.nodes.as_ref().map(|list| read_nodes(&list.file)).transpose()?;
            Ok((accounts, nodes))
        };
        let (accounts, nodes) = read().map_err(|error| {
            tracing::error!("permissions are not reloaded, the lists in force stay: {error}");
            Refused::NotReloaded
        })?;
        if let (Some(list), Some(entries)) = (&self.accounts, accounts) {
            permit(&list.pool, &entries);
            *list.entries.lock() = entries;
        }
        if let (Some(list), Some(entries)) = (&self.nodes, nodes) {
            list.replace(entries);
        }
        tracing::info!("permissions are reloaded");
        Ok(())
    }
}

impl NodeList {
    /// The verdict on a connection, for the network: an entry has to have the node's key, its address and the port it
    /// listens on (dialled: the port dialled; 0 = listens nowhere).
    pub(crate) fn judge(&self, candidate: &Candidate) -> Result<(), String> {
        let port = if candidate.inbound { candidate.listen_port } else { candidate.remote.port() };
        let verdict = self.permits(&candidate.node, candidate.remote.ip(), port);
        let counter = if verdict.is_ok() { &self.permitted } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        verdict
    }

    /// The same about whom discovery talks with, as in Besu.
    pub(crate) fn permits(&self, node: &NodeId, ip: IpAddr, port: u16) -> Result<(), String> {
        if *node == self.own {
            return Ok(());
        }
        let ip = ip.to_canonical();
        let entries = self.entries.read();
        let mut of_key = entries.iter().filter(|entry| entry.enode.id == *node).peekable();
        if of_key.peek().is_none() {
            return Err(format!("it is not in {NODES_KEY}"));
        }
        if of_key.any(|entry| entry.enode.tcp == port && entry.addresses.iter().any(|listed| listed.to_canonical() == ip)) {
            return Ok(());
        }
        Err(format!("{NODES_KEY} has its key with another address than {ip} and listening port {port}"))
    }

    /// Whether the operator may ask for a connection to it.
    pub(crate) fn lists(&self, enode: &Enode) -> bool {
        self.entries.read().iter().any(|entry| same_listener(&entry.enode, enode))
    }

    /// Judgements of connections since the start: permitted, refused.
    pub(crate) fn checks(&self) -> (u64, u64) {
        (self.permitted.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Looks the names of the entries up. Returns whether an address changed.
    pub(crate) async fn resolve(&self) -> bool {
        let is_name = |host: &String| host.parse::<IpAddr>().is_err();
        let named: Vec<Enode> = self
            .entries
            .read()
            .iter()
            .filter(|entry| entry.enode.hosts.iter().any(is_name))
            .map(|entry| entry.enode.clone())
            .collect();
        let mut changed = false;
        for enode in named {
            let mut addresses = NodeEntry::new(enode.clone()).addresses;
            for host in enode.hosts.iter().filter(|host| is_name(host)) {
                match tokio::net::lookup_host((host.as_str(), enode.tcp)).await {
                    Ok(found) => addresses.extend(found.map(|address| address.ip()).take(MAX_ADDRESSES)),
                    Err(error) => tracing::warn!("the name {host} in {NODES_KEY} has no address: {error}"),
                }
            }
            for entry in self.entries.write().iter_mut().filter(|entry| entry.enode == enode) {
                // A name server that is down for a moment cuts nobody.
                if !addresses.is_empty() && entry.addresses != addresses {
                    entry.addresses.clone_from(&addresses);
                    changed = true;
                }
            }
        }
        changed
    }

    fn texts(&self) -> Vec<String> {
        self.entries.read().iter().map(|entry| entry.enode.to_string()).collect()
    }

    /// Puts a list into force, keeping the addresses of names that are known already.
    fn replace(&self, enodes: Vec<Enode>) {
        let mut entries = self.entries.write();
        let next = enodes
            .into_iter()
            .map(|enode| match entries.iter().find(|entry| entry.enode == enode) {
                Some(known) => known.clone(),
                None => NodeEntry::new(enode),
            })
            .collect();
        *entries = next;
    }

    fn change(&self, next: Vec<Enode>) -> Result<(), Refused> {
        let before: Vec<Enode> = self.entries.read().iter().map(|entry| entry.enode.clone()).collect();
        let outcome = write_list(&self.file, NODES_KEY, &texts(&before), &texts(&next), &|text| {
            text.parse::<Enode>().map(|enode| enode.to_string()).ok()
        });
        if outcome != Err(Refused::NotWritten) {
            self.replace(next);
        }
        outcome
    }

    fn add(&self, given: &[String]) -> Result<(), Refused> {
        let new = enodes(given)?;
        let mut next: Vec<Enode> = self.entries.read().iter().map(|entry| entry.enode.clone()).collect();
        if new.iter().any(|enode| next.contains(enode)) {
            return Err(Refused::Existing);
        }
        next.extend(new);
        self.change(next)
    }

    fn remove(&self, given: &[String]) -> Result<(), Refused> {
        let gone = enodes(given)?;
        if gone.iter().any(|enode| self.fixed.iter().any(|fixed| same_listener(fixed, enode))) {
            return Err(Refused::Fixed);
        }
        let mut next: Vec<Enode> = self.entries.read().iter().map(|entry| entry.enode.clone()).collect();
        if !gone.iter().all(|enode| next.contains(enode)) {
            return Err(Refused::Absent);
        }
        next.retain(|enode| !gone.contains(enode));
        self.change(next)
    }
}

impl AccountList {
    fn change(&self, entries: &mut Vec<Address>, next: Vec<Address>) -> Result<(), Refused> {
        let outcome = write_list(&self.file, ACCOUNTS_KEY, &texts(entries), &texts(&next), &|text| {
            account(text).map(|address| format!("{address:#x}"))
        });
        if outcome != Err(Refused::NotWritten) {
            permit(&self.pool, &next);
            *entries = next;
        }
        outcome
    }

    fn add(&self, given: &[String]) -> Result<(), Refused> {
        let new = accounts(given)?;
        let mut entries = self.entries.lock();
        if new.iter().any(|address| entries.contains(address)) {
            return Err(Refused::Existing);
        }
        let next = entries.iter().copied().chain(new).collect();
        self.change(&mut entries, next)
    }

    fn remove(&self, given: &[String]) -> Result<(), Refused> {
        let gone: HashSet<Address> = accounts(given)?.into_iter().collect();
        let mut entries = self.entries.lock();
        let next: Vec<Address> = entries.iter().copied().filter(|address| !gone.contains(address)).collect();
        if next.len() + gone.len() != entries.len() {
            return Err(Refused::Absent);
        }
        self.change(&mut entries, next)
    }
}

/// How an entry is written.
trait Entry {
    fn text(&self) -> String;
}

impl Entry for Address {
    fn text(&self) -> String {
        format!("{self:#x}")
    }
}

impl Entry for Enode {
    fn text(&self) -> String {
        self.to_string()
    }
}

fn texts<E: Entry>(entries: &[E]) -> Vec<String> {
    entries.iter().map(Entry::text).collect()
}

fn permit(pool: &Mutex<Pool>, accounts: &[Address]) {
    pool.lock().permit_only(steady_us() / 1_000, Some(accounts.iter().copied().collect()));
}

/// Follows names that move and reloads the lists when the process is told to (SIGHUP), until it is aborted. Without a
/// list in force SIGHUP keeps its meaning, the end of the process.
pub(crate) async fn keep(permissions: Permissions, network: NetworkHandle) {
    use tokio::signal::unix::{SignalKind, signal};
    if !permissions.any() {
        return;
    }
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!("permissions are not reloaded on SIGHUP: {error}");
            return;
        }
    };
    let mut refresh = tokio::time::interval(LOOK_UP_EVERY);
    loop {
        let told = tokio::select! {
            _ = hangup.recv() => true,
            _ = refresh.tick() => false,
        };
        if told {
            let permissions = permissions.clone();
            let _ = tokio::task::spawn_blocking(move || permissions.reload()).await;
        }
        if let Some(nodes) = &permissions.nodes
            && (nodes.resolve().await || told)
        {
            network.reconsider();
        }
    }
}

/// The same key, a common host, the same port to connect to; the discovery port does not count.
fn same_listener(a: &Enode, b: &Enode) -> bool {
    a.id == b.id && a.tcp == b.tcp && a.hosts.iter().any(|host| b.hosts.contains(host))
}

fn account(text: &str) -> Option<Address> {
    let digits = text.strip_prefix("0x")?;
    (digits.len() == 40).then(|| text.parse().ok())?
}

/// Besu's order of checks: empty, invalid, given twice.
fn accounts(given: &[String]) -> Result<Vec<Address>, Refused> {
    if given.is_empty() {
        return Err(Refused::Empty);
    }
    let accounts: Vec<Address> = given.iter().map(|text| account(text)).collect::<Option<_>>().ok_or(Refused::Invalid)?;
    let mut seen = HashSet::new();
    if accounts.iter().all(|address| seen.insert(*address)) { Ok(accounts) } else { Err(Refused::Duplicate) }
}

/// Besu's order of checks: empty, given twice (as text), invalid.
fn enodes(given: &[String]) -> Result<Vec<Enode>, Refused> {
    if given.is_empty() {
        return Err(Refused::Empty);
    }
    let mut seen = HashSet::new();
    if !given.iter().all(|text| seen.insert(text)) {
        return Err(Refused::Duplicate);
    }
    given.iter().map(|text| text.parse().map_err(|_| Refused::Invalid)).collect()
}

/// The texts under a key; `None` when the key is absent.
fn read_list(file: &Path, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
    let wrong = |message: String| ConfigError::Content { path: file.to_owned(), message };
    let text = read_text(file, MAX_SETTINGS_BYTES)?;
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| wrong(format!("not TOML: {}", error.to_string().trim_end())))?;
    let Some(value) = table.get(key) else { return Ok(None) };
    let items = value
        .as_array()
        .and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>());
    items.map(Some).ok_or_else(|| wrong(format!("{key}: expected an array of strings")))
}

fn needed(file: &Path, key: &str) -> Result<Vec<String>, ConfigError> {
    if let Some(list) = read_list(file, key)? {
        return Ok(list);
    }
    // Besu's key of before 2020.
    let old = key.replace("allowlist", "whitelist");
    let hint = match read_list(file, &old) {
        Ok(None) => "expected an array of strings, [] permits nobody".to_owned(),
        _ => format!("{old} is its name in old releases of Besu: rename it to {key}"),
    };
    Err(ConfigError::Content { path: file.to_owned(), message: format!("{key} is missing; {hint}") })
}

fn read_accounts(file: &Path) -> Result<Vec<Address>, ConfigError> {
    let wrong = |message: String| ConfigError::Content { path: file.to_owned(), message };
    let mut list = Vec::new();
    let mut seen = HashSet::new();
    for text in needed(file, ACCOUNTS_KEY)? {
        let shown: String = text.chars().take(80).collect();
        let address =
            account(&text).ok_or_else(|| wrong(format!("{ACCOUNTS_KEY}: got {shown:?}, expected 0x and 40 hex digits")))?;
        if !seen.insert(address) {
            return Err(wrong(format!("{ACCOUNTS_KEY}: {shown} is there twice, expected once")));
        }
        list.push(address);
    }
    Ok(list)
}

fn read_nodes(file: &Path) -> Result<Vec<Enode>, ConfigError> {
    let parse = |text: String| {
        text.parse::<Enode>()
            .map_err(|error| ConfigError::Content { path: file.to_owned(), message: format!("{NODES_KEY}: {error}") })
    };
    needed(file, NODES_KEY)?.into_iter().map(parse).collect()
}

/// Replaces one list in the file, as Besu writes it: `key=["a","b"]`, a line for each key; everything else in the file goes.
/// The new file takes the old one's place in one step.
///
/// # Errors
/// [`Refused::OutOfSync`]: the file lacks entries of `before`, and is left as it is. [`Refused::NotWritten`]: it cannot be
/// read or written, or would become longer than what can be read again.
fn write_list(
    file: &Path,
    key: &str,
    before: &[String],
    next: &[String],
    normal: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Refused> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!("the allow-list {} cannot be changed: {error}", file.display());
        Refused::NotWritten
    };
    let there: HashSet<String> =
        read_list(file, key).map_err(|error| failed(&error))?.unwrap_or_default().iter().filter_map(|text| normal(text)).collect();
    if !before.iter().all(|entry| there.contains(entry)) {
        tracing::error!("{} was changed by somebody else: {key} is changed in memory only", file.display());
        return Err(Refused::OutOfSync);
    }
    let other = if key == NODES_KEY { ACCOUNTS_KEY } else { NODES_KEY };
    let mut text = String::new();
    if let Some(kept) = read_list(file, other).map_err(|error| failed(&error))? {
        text += &line(other, &kept);
    }
    text += &line(key, next);
    if text.len() as u64 > MAX_SETTINGS_BYTES {
        return Err(failed(&format!("it would have more than {MAX_SETTINGS_BYTES} bytes")));
    }
    replace_file(file, text.as_bytes()).map_err(|error| failed(&error))
}

fn line(key: &str, entries: &[String]) -> String {
    let quoted: Vec<String> = entries.iter().map(|entry| toml::Value::from(entry.as_str()).to_string()).collect();
    format!("{key}=[{}]\n", quoted.join(","))
}

/// Writes beside the file and renames, so that a crash leaves the old file or the new one.
fn replace_file(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A link is followed, so that what it points to is replaced and not the link.
    let file = std::fs::canonicalize(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = folder.join(name);
    let mut out = std::fs::File::create(&beside)?;
    out.set_permissions(std::fs::metadata(&file)?.permissions())?;
    out.write_all(bytes)?;
    out.sync_all()?;
    std::fs::rename(&beside, &file)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
