//! The three clients: how each is started on a folder, and what each calls its questions.

use crate::network::{Place, Seat};
use ipe_types::Dialect;
use ipe_types::crypto::NodeKey;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Groups of JSON-RPC methods that the suite asks.
const APIS: [&str; 7] = ["ETH", "NET", "WEB3", "QBFT", "ADMIN", "TXPOOL", "DEBUG"];

/// What Besu is told, and what ours is translated from.
fn besu_settings(place: &Place) -> Vec<(&'static str, Value)> {
    vec![
        ("data-path", json!(place.folder)),
        ("genesis-file", json!(place.genesis)),
        ("node-private-key-file", json!(place.folder.join("key"))),
        ("static-nodes-file", json!(place.folder.join("static-nodes.json"))),
        ("p2p-host", json!("127.0.0.1")),
        ("p2p-interface", json!("127.0.0.1")),
        ("p2p-port", json!(place.p2p)),
        ("discovery-enabled", json!(false)),
        ("nat-method", json!("NONE")),
        ("sync-mode", json!("FULL")),
        ("sync-min-peers", json!(1)),
        ("min-gas-price", json!(0)),
        ("rpc-http-enabled", json!(true)),
        ("rpc-http-host", json!("127.0.0.1")),
        ("rpc-http-port", json!(place.http)),
        ("rpc-http-api", json!(APIS)),
        ("host-allowlist", json!(["*"])),
        ("logging", json!("INFO")),
    ]
}

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Ipe,
    /// Hyperledger Besu.
    Besu,
    /// Consensys GoQuorum.
    GoQuorum,
}

/// One executable.
#[derive(Clone, Debug)]
pub struct Client {
    /// Whose.
    pub kind: Kind,
    /// What is run.
    pub program: PathBuf,
    /// As the program tells it: `25.5.0`.
    pub version: String,
    /// What the program tells every peer, ours only by configuration.
    pub dialect: Dialect,
    /// It is not told to speak another dialect, whatever the others speak.
    pub untold: bool,
}

impl Client {
    /// Asks the program for its version.
    ///
    /// Errors: it does not start, or tells none.
    pub fn find(kind: Kind, program: &Path) -> Result<Client, String> {
        let argument = if kind == Kind::GoQuorum { "version" } else { "--version" };
        let output = Command::new(program)
            .arg(argument)
            .output()
            .map_err(|error| format!("{} {argument} did not start: {error}", program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = match kind {
            Kind::Ipe => said.split_whitespace().last(),
            Kind::Besu => said.split("besu/v").nth(1).and_then(|rest| rest.split(['/', '-']).next()),
            Kind::GoQuorum => said.split("Quorum Version: ").nth(1).and_then(|rest| rest.split_whitespace().next()),
        };
        let version =
            version.map(str::to_owned).ok_or_else(|| format!("{} {argument} told no version: {said:.300}", program.display()))?;
        let year: u32 = version.split('.').next().and_then(|year| year.parse().ok()).unwrap_or(0);
        let dialect = match kind {
            Kind::Besu if year >= 26 => Dialect::Besu26,
            Kind::Besu | Kind::Ipe => Dialect::Legacy,
            Kind::GoQuorum => Dialect::GoQuorum,
        };
        Ok(Client { kind, program: program.to_owned(), version, dialect, untold: false })
    }

    /// `besu-25.5.0`.
    pub fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Ipe => "ipe",
            Kind::Besu => "besu",
            Kind::GoQuorum => "goquorum",
        };
        format!("{kind}-{}", self.version)
    }

    /// Whether the release speaks the legacy dialect only when told so.
    fn is_told_legacy(&self, network: Dialect) -> bool {
        !self.untold && self.kind == Kind::Besu && self.dialect == Dialect::Besu26 && network != Dialect::Besu26
    }

    /// Writes what the client reads into the node's folder, and gives the command that runs it.
    ///
    /// Errors: a file cannot be written, or GoQuorum refuses the genesis.
    pub fn prepare(&self, place: &Place, dialect: Dialect) -> Result<Command, String> {
        let write = |name: &str, text: String| {
            let path = place.folder.join(name);
            std::fs::write(&path, text).map_err(|error| format!("writing {}: {error}", path.display()))
        };
        write("static-nodes.json", Value::from(place.peers.clone()).to_string())?;
        write("key", format!("0x{}", hex::encode(place.key.secret_bytes())))?;
        match self.kind {
            Kind::Ipe => self.ipe(place, dialect),
            Kind::Besu => Ok(self.besu(place, dialect)),
            Kind::GoQuorum => {
                write("nodekey", hex::encode(place.key.secret_bytes()))?;
                if !place.folder.join("geth/chaindata").exists() {
                    self.init(place)?;
                }
                Ok(self.goquorum(place))
            }
        }
    }

    /// A node of ours. In a mesh it is started as one that came from Besu (docs/moving-from-besu.md): Besu's settings,
    /// translated.
    ///
    /// Errors: the translation is refused or cannot be written.
    fn ipe(&self, place: &Place, dialect: Dialect) -> Result<Command, String> {
        let mut command = self.ours();
        command.args(["node", "run"]);
        let dialect = match dialect {
            Dialect::Legacy => "legacy",
            Dialect::Besu26 => "besu26",
            Dialect::GoQuorum => "goquorum",
        };
        match &place.seat {
            Seat::Mesh => {
                command.arg("--config").arg(self.translate(place, if dialect == "besu26" { "26.8.0" } else { "25.5.0" })?);
            }
            Seat::BehindBoots(carry) => {
                command.args(["--role", "validator", "--topology", "sentry", "--carry", &carry.join(",")]);
            }
            Seat::Boot(validator, carry) => {
                let carry = carry.join(",");
                command.args(["--role", "boot", "--topology", "sentry", "--carry-for", validator, "--carry", &carry]);
            }
        }
        if !matches!(place.seat, Seat::Mesh) {
            command.arg("--data-dir").arg(&place.folder);
            command.arg("--genesis").arg(&place.genesis);
            command.args(["--p2p-interface", "127.0.0.1", "--p2p-port", &place.p2p.to_string()]);
            command.args(["--rpc-http-port", &place.http.to_string(), "--rpc-http-api", &APIS.join(",")]);
        }
        command.args(["--dialect", dialect, "--name", &place.name, "--logging", "debug"]);
        Ok(command)
    }

    /// Our program without settings of this process.
    fn ours(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("IPE_")) {
            command.env_remove(name);
        }
        command
    }

    /// Besu's TOML file of this place, and ours as `ipe besu translate` makes it; gives the path of ours.
    fn translate(&self, place: &Place, release: &str) -> Result<PathBuf, String> {
        let (theirs, ours) = (place.folder.join("besu.toml"), place.folder.join("ipe.toml"));
        let failed = |path: &Path, error: std::io::Error| format!("writing {}: {error}", path.display());
        // Strings, numbers, booleans and lists of strings are written alike in JSON and TOML.
        let text: String = besu_settings(place).iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        std::fs::write(&theirs, text).map_err(|error| failed(&theirs, error))?;
        let output = self
            .ours()
            .args(["besu", "translate", "--release", release])
            .arg(&theirs)
            .output()
            .map_err(|error| format!("{} did not start: {error}", self.program.display()))?;
        if !output.status.success() {
            return Err(format!("translating {}: {}", theirs.display(), String::from_utf8_lossy(&output.stderr).trim()));
        }
        std::fs::write(&ours, output.stdout).map_err(|error| failed(&ours, error))?;
        Ok(ours)
    }

    fn besu(&self, place: &Place, dialect: Dialect) -> Command {
        let mut command = Command::new(&self.program);
        for (key, value) in besu_settings(place) {
            let value = match value {
                Value::String(text) => text,
                Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
                other => other.to_string(),
            };
            command.arg(format!("--{key}={value}"));
        }
        if self.is_told_legacy(dialect) {
            command.arg("--Xbft-legacy-protocol-encoding=true");
        }
        if std::env::var_os("JAVA_OPTS").is_none() && std::env::var_os("BESU_OPTS").is_none() {
            command.env("JAVA_OPTS", "-Xmx512m");
        }
        command
    }

    fn init(&self, place: &Place) -> Result<(), String> {
        let output = Command::new(&self.program)
            .arg("--datadir")
            .arg(&place.folder)
            .arg("init")
            .arg(&place.genesis)
            .env("PRIVATE_CONFIG", "ignore")
            .output()
            .map_err(|error| format!("{} init did not start: {error}", self.program.display()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{} init: {}", self.program.display(), String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn goquorum(&self, place: &Place) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PRIVATE_CONFIG", "ignore");
        command.arg("--datadir").arg(&place.folder);
        command.arg("--nodekey").arg(place.folder.join("nodekey"));
        command.args(["--nodiscover", "--nousb", "--ipcdisable", "--nat", "none", "--syncmode", "full"]);
        command.args(["--networkid", &place.chain_id.to_string(), "--port", &place.p2p.to_string()]);
        command.args(["--http", "--http.addr", "127.0.0.1", "--http.port", &place.http.to_string()]);
        command.args(["--http.api", "eth,net,web3,istanbul,admin,txpool", "--gcmode", "archive", "--verbosity", "4"]);
        command.args(["--mine", "--miner.threads", "1", "--miner.gasprice", "0", "--txpool.pricelimit", "0"]);
        command
    }

    /// The question for the validators of the block after `height`.
    pub fn validators(&self, height: u64) -> (&'static str, Value) {
        let method = match self.kind {
            Kind::GoQuorum => "istanbul_getValidators",
            Kind::Ipe | Kind::Besu => "qbft_getValidatorsByBlockNumber",
        };
        (method, json!([format!("{height:#x}")]))
    }

    /// The question that makes this validator vote for (`add`) or against an address.
    pub fn vote(&self, of: &NodeKey, add: bool) -> (&'static str, Value) {
        let method = match self.kind {
            Kind::GoQuorum => "istanbul_propose",
            Kind::Ipe | Kind::Besu => "qbft_proposeValidatorVote",
        };
        (method, json!([of.address(), add]))
    }

    /// The question that takes the vote back.
    pub fn discard(&self, of: &NodeKey) -> (&'static str, Value) {
        let method = match self.kind {
            Kind::GoQuorum => "istanbul_discard",
            Kind::Ipe | Kind::Besu => "qbft_discardValidatorVote",
        };
        (method, json!([of.address()]))
    }
}
