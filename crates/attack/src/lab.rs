//! A lab network of real processes, of which one institution is the attacker's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipe_provision::Plan;
use ipe_types::{NodeKey, Role};
use serde_json::Value;

use crate::rpc;

/// Longest wait for a state that a healthy network reaches in a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a case wants of its network.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Institutions; the last ones are the attacker's.
    pub institutions: u32,
    /// How many of them are the attacker's.
    pub hostile: u32,
    /// `sentry` or `mesh`.
    pub topology: &'static str,
    /// Time between blocks, ms.
    pub period_ms: u64,
    /// Round 0, seconds.
    pub timeout_s: u64,
    /// Of every block.
    pub gas_limit: u64,
}

impl Wanted {
    /// Four institutions, one of them hostile, a block every half second, as small a timeout as there is.
    pub const USUAL: Wanted =
        Wanted { institutions: 4, hostile: 1, topology: "sentry", period_ms: 500, timeout_s: 1, gas_limit: 100_000_000 };
}

/// One running process.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub role: Role,
    /// JSON-RPC.
    pub rpc: SocketAddr,
    pub hostile: bool,
}

/// A running network; gone when dropped.
pub struct Lab {
    ipe: PathBuf,
    dir: PathBuf,
    pub wanted: Wanted,
    pub plan: Plan,
    pub nodes: Vec<Node>,
}

impl Lab {
    /// Brings a network up in `dir`, which is emptied before.
    pub fn up(ipe: &Path, dir: &Path, wanted: Wanted) -> Result<Lab, String> {
        let count = wanted.institutions.to_string();
        let (period, timeout, gas) =
            (format!("{}ms", wanted.period_ms), wanted.timeout_s.to_string(), wanted.gas_limit.to_string());
        let _ = lab(ipe, dir, &["down"]);
        lab(
            ipe,
            dir,
            &[
                "up",
                "--detach",
                "--institutions",
                &count,
                "--topology",
                wanted.topology,
                "--block-period",
                &period,
                "--request-timeout",
                &timeout,
                "--gas-limit",
                &gas,
            ],
        )?;
        let text = std::fs::read_to_string(dir.join("lab.json")).map_err(|error| format!("lab.json: {error}"))?;
        let plan: Plan = serde_json::from_str(&text).map_err(|error| format!("lab.json: {error}"))?;
        let first_hostile = wanted.institutions - wanted.hostile + 1;
        let nodes = plan
            .nodes
            .iter()
            .map(|node| {
                let number: u32 = node.slot.institution.trim_start_matches("inst").parse().unwrap_or(0);
                Node {
                    name: node.slot.name.clone(),
                    role: node.slot.role,
                    rpc: SocketAddr::from(([127, 0, 0, 1], node.ports.rpc)),
                    hostile: number >= first_hostile,
                }
            })
            .collect();
        let lab = Lab { ipe: ipe.to_owned(), dir: dir.to_owned(), wanted, plan, nodes };
        lab.until("the network makes blocks", PATIENCE, || lab.lowest() >= 2)?;
        Ok(lab)
    }

    /// Nodes that are not the attacker's.
    pub fn honest(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.hostile)
    }

    /// Honest nodes of a role.
    pub fn honest_of(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.honest().filter(move |node| node.role == role)
    }

    /// Height of the honest node that is furthest.
    pub fn highest(&self) -> u64 {
        self.honest().filter_map(|node| rpc::height(node.rpc)).max().unwrap_or(0)
    }

    /// Height of the honest node that is least far; 0 when one does not answer.
    pub fn lowest(&self) -> u64 {
        self.honest().map(|node| rpc::height(node.rpc).unwrap_or(0)).min().unwrap_or(0)
    }

    /// The attacker takes its own nodes from the network; their keys are its own.
    pub fn seize(&self) -> Result<(), String> {
        let names: Vec<&str> = self.nodes.iter().filter(|node| node.hostile).map(|node| node.name.as_str()).collect();
        self.run(&[&["kill"], names.as_slice()].concat())
    }

    /// `ipe lab COMMAND…` on this network.
    pub fn run(&self, arguments: &[&str]) -> Result<(), String> {
        lab(&self.ipe, &self.dir, arguments).map(|_| ())
    }

    /// Process id of a node, while it runs.
    pub fn process(&self, node: &Node) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join(&node.name).join("node.pid")).ok()?;
        let file: Value = serde_json::from_str(&text).ok()?;
        file["pid"].as_u64().map(|pid| pid.to_string())
    }

    /// Private key of a node.
    pub fn key(&self, name: &str) -> Result<NodeKey, String> {
        let path = self.dir.join(name).join("key");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let bytes = hex::decode(text.trim().trim_start_matches("0x")).map_err(|error| format!("{}: {error}", path.display()))?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| format!("{}: not 32 bytes", path.display()))?;
        NodeKey::from_bytes(bytes).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Key of the first account that has money.
    pub fn account(&self) -> Result<NodeKey, String> {
        let path = self.dir.join("accounts.json");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let accounts: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let secret = accounts.as_object().and_then(|all| all.values().next()?["privateKey"].as_str());
        let secret = secret.and_then(|text| hex::decode(text.trim_start_matches("0x")).ok()?.try_into().ok());
        NodeKey::from_bytes(secret.ok_or("no account")?).map_err(|error| error.to_string())
    }

    /// Waits until `holds`.
    pub fn until(&self, what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> Result<Duration, String> {
        let began = Instant::now();
        while !holds() {
            if began.elapsed() > patience {
                let heights: Vec<String> = self
                    .honest()
                    .map(|node| format!("{} {}", node.name, rpc::height(node.rpc).map_or("-".into(), |at| at.to_string())))
                    .collect();
                return Err(format!("not within {} s: {what} ({})", patience.as_secs(), heights.join(", ")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(began.elapsed())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("IPE_ATTACK_KEEP").is_none() {
            let _ = self.run(&["down"]);
        } else {
            let _ = self.run(&["stop"]);
        }
    }
}

fn lab(ipe: &Path, dir: &Path, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(ipe)
        .arg("lab")
        .args(arguments)
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", ipe.display()))?;
    if !output.status.success() {
        return Err(format!("ipe lab {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(Value::Null)
}
