//! A lab network of real processes in a folder of its own, stopped when the test ends.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for a network to do what it should; a dev build on two busy cores is slow to start.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A running lab.
pub struct Lab {
    folder: TempDir,
}

/// One node as `lab status --json` tells it.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub institution: String,
    pub role: String,
    pub pid: Option<u32>,
    pub height: Option<u64>,
    pub p2p: Option<String>,
    pub rpc: Option<String>,
    pub whole: Value,
}

impl Lab {
    /// `ipe lab up --detach` with these arguments besides.
    pub fn up(arguments: &[&str]) -> Self {
        let lab = Self { folder: TempDir::new().expect("a temporary folder") };
        lab.up_again(arguments);
        lab
    }

    /// Brings the same folder up once more.
    pub fn up_again(&self, arguments: &[&str]) {
        let mut all = vec!["up", "--detach"];
        all.extend_from_slice(arguments);
        self.ok(&all);
    }

    /// Folder of the lab.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Runs `ipe lab <arguments> --dir <folder>`.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ipe"))
            .envs(environment.iter().copied())
            .arg("lab")
            .args(arguments)
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("the ipe executable starts")
    }

    /// Runs and insists on success.
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.ok_with(arguments, &[])
    }

    /// Runs with these variables in the environment, which nodes inherit, and insists on success.
    pub fn ok_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let output = self.run_with(arguments, environment);
        assert!(
            output.status.success(),
            "ipe lab {} ended with {}\n{}\n{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// All nodes as `lab status --json` tells them now.
    pub fn nodes(&self) -> Vec<Node> {
        let text = self.ok(&["status", "--json"]);
        let status: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        let nodes = status["nodes"].as_array().unwrap_or_else(|| panic!("no nodes in {text}"));
        nodes.iter().map(node).collect()
    }

    /// Nodes of a role.
    pub fn with_role(&self, role: &str) -> Vec<Node> {
        self.nodes().into_iter().filter(|node| node.role == role).collect()
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Node {
        self.nodes().into_iter().find(|node| node.name == name).unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// Highest height that any node tells; 0 when none answers.
    pub fn height(&self) -> u64 {
        self.nodes().iter().filter_map(|node| node.height).max().unwrap_or(0)
    }

    /// Waits until every running node has reached `height`.
    pub fn all_reach(&self, height: u64) {
        self.until(&format!("every running node reaches block {height}"), || {
            let nodes = self.nodes();
            nodes.iter().filter(|node| node.pid.is_some()).all(|node| node.height.is_some_and(|at| at >= height))
        });
    }

    /// Waits until the highest node has reached `height`.
    pub fn reaches(&self, height: u64) {
        self.until(&format!("the network reaches block {height}"), || self.height() >= height);
    }

    /// Waits until `holds`, and fails with the state of the network after [`PATIENCE`].
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            if began.elapsed() > PATIENCE {
                let mut told = String::new();
                for node in self.nodes() {
                    told += &format!("{}\n", node.whole);
                    if node.role != "writer" {
                        told += &self.tail(&node.name);
                    }
                }
                panic!("after {PATIENCE:?} still waiting until {what}\n{told}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The last lines of a node's log.
    fn tail(&self, name: &str) -> String {
        let output = self.run(&["logs", name]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("    {line}\n")).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let output = self.run(&["down"]);
        if !output.status.success() && !std::thread::panicking() {
            panic!("ipe lab down: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn node(value: &Value) -> Node {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Node {
        name: text("name").expect("a node has a name"),
        institution: text("institution").expect("a node has an institution"),
        role: text("role").expect("a node has a role"),
        pid: value["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()),
        height: value["height"].as_u64(),
        p2p: text("p2p"),
        rpc: text("rpc"),
        whole: value.clone(),
    }
}

impl Node {
    /// Puts one JSON-RPC question and returns its result.
    pub fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        let url = self.rpc.as_deref().ok_or("the node has no JSON-RPC address")?;
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let answer = super::http::post(url, &body)?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|error| format!("{error} in {answer}"))?;
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].take()),
        }
    }

    /// As [`Node::ask`], and insists on an answer.
    pub fn answer(&self, method: &str, params: Value) -> Value {
        self.ask(method, params).unwrap_or_else(|error| panic!("{} asked {method}: {error}", self.name))
    }
}
