//! The permissioning contracts on a running network, deployed by transactions as an institution would, and `ipe` commands on them.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use alloy_sol_types::{SolCall, SolConstructor, sol};
use ipe_rules::abi::{Admins, Ingress};
use ipe_rules::artifact::{Contract, creation_code};
use ipe_types::NodeKey;
use serde_json::{Value, json};

use super::lab::{Lab, Node};

sol! {
    struct OrganizationData { uint256 id; string cnpj; string name; uint8 orgType; bool canVote; }
    contract OfOrganizations { constructor(OrganizationData[] orgs, address admins); }
    contract OfAccounts { constructor(address orgs, address[] accs, address admins); }
    contract OfOthers { constructor(address orgs, address accs, address admins); }
    contract OfIngress { constructor(address administration); }
    contract OfSelection { constructor(address admins, address accs, address nodes, address[] initial, uint256 between, uint256 without, uint256 next); }
    contract OfSelectionIngress { constructor(address admin, address selection); }
}

/// Names of the organisations, their kind (0 partner, 1 associate, 2 patron) and right to vote.
pub const ORGS: [(&str, u8, bool); 4] = [("BNDES", 2, true), ("TCU", 2, true), ("Serpro", 1, true), ("PUC-Rio", 0, false)];

/// Key of the account that deploys and is master administrator.
pub fn deployer() -> NodeKey {
    NodeKey::from_bytes([9; 32]).expect("a key")
}

/// Key of the global administrator of the `n`-th organisation, from 1.
pub fn administrator(n: u8) -> NodeKey {
    NodeKey::from_bytes([0x20 + n; 32]).expect("a key")
}

/// The contracts, and key files for commands.
pub struct Deployed {
    pub rpc: String,
    pub account_ingress: Address,
    pub node_ingress: Address,
    pub admin: Address,
    pub governance: Address,
    pub accounts: Address,
    pub nodes: Address,
    keys: tempfile::TempDir,
}

impl Deployed {
    /// Deploys everything by the node's JSON-RPC and waits for the receipts.
    pub fn on(lab: &Lab, node: &Node) -> Self {
        let mut by = Deployer::of(node);
        let mut send = |to: TxKind, data: Bytes| by.send(node, to, data);
        let mut create = |contract: Contract, arguments: Vec<u8>| {
            send(TxKind::Create, [creation_code(contract).as_ref(), &arguments].concat().into())
        };
        let admin = create(Contract::Admin, Vec::new());
        let orgs = ORGS
            .iter()
            .enumerate()
            .map(|(index, (name, kind, vote))| OrganizationData {
                id: U256::ZERO,
                cnpj: format!("{index:014}"),
                name: (*name).to_owned(),
                orgType: *kind,
                canVote: *vote,
            })
            .collect();
        let org = create(Contract::Organizations, OfOrganizations::constructorCall { orgs, admins: admin }.abi_encode());
        let accs = (1..=ORGS.len()).map(|n| administrator(n as u8).address()).collect();
        let accounts = create(Contract::Accounts, OfAccounts::constructorCall { orgs: org, accs, admins: admin }.abi_encode());
        let others = OfOthers::constructorCall { orgs: org, accs: accounts, admins: admin }.abi_encode();
        let nodes = create(Contract::Nodes, others.clone());
        let governance = create(Contract::Governance, others);
        let ingress = OfIngress::constructorCall { administration: admin }.abi_encode();
        let account_ingress = create(Contract::AccountIngress, ingress.clone());
        let node_ingress = create(Contract::NodeIngress, ingress);
        send(TxKind::Call(admin), Admins::addAdminCall { account: governance }.abi_encode().into());
        for (ingress, rules) in [(account_ingress, accounts), (node_ingress, nodes)] {
            send(
                TxKind::Call(ingress),
                Ingress::setContractAddressCall { name: ipe_rules::RULES, target: rules }.abi_encode().into(),
            );
        }
        by.wait(lab, node);
        let keys = tempfile::TempDir::new().expect("a temporary folder");
        for n in 1..=ORGS.len() as u8 {
            write_key(&keys.path().join(format!("admin{n}")), &administrator(n));
        }
        write_key(&keys.path().join("stranger"), &NodeKey::from_bytes([0x77; 32]).expect("a key"));
        let rpc = node.rpc.clone().expect("the node has JSON-RPC");
        Self { rpc, account_ingress, node_ingress, admin, governance, accounts, nodes, keys }
    }

    /// Deploys a selection of validators with these in office, and its ingress, whose address it gives.
    pub fn selection(&self, lab: &Lab, node: &Node, initial: Vec<Address>) -> Address {
        let mut by = Deployer::of(node);
        let arguments = OfSelection::constructorCall {
            admins: self.admin,
            accs: self.accounts,
            nodes: self.nodes,
            initial,
            between: U256::from(1_000),
            without: U256::from(500),
            next: U256::from(100_000),
        };
        let code = |contract: Contract, arguments: Vec<u8>| Bytes::from([creation_code(contract).as_ref(), &arguments].concat());
        let selection = by.send(node, TxKind::Create, code(Contract::Selection, arguments.abi_encode()));
        // It asks the selection, which has to be there.
        by.wait(lab, node);
        let arguments = OfSelectionIngress::constructorCall { admin: self.admin, selection };
        let ingress = by.send(node, TxKind::Create, code(Contract::SelectionIngress, arguments.abi_encode()));
        by.wait(lab, node);
        ingress
    }

    /// Key file of the `n`-th organisation's global administrator.
    pub fn key(&self, n: u8) -> String {
        self.key_named(&format!("admin{n}"))
    }

    pub fn key_named(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    /// Runs `ipe` with these arguments on this network.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ipe"))
            .args(arguments)
            .env("IPE_RPC_URL", &self.rpc)
            .env("IPE_ACCOUNT_INGRESS", self.account_ingress.to_string())
            .env("IPE_NODE_INGRESS", self.node_ingress.to_string())
            .stdin(Stdio::null())
            .output()
            .expect("the ipe executable starts")
    }

    /// Runs and insists on success.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "ipe {} ended with {}\n{}\n{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs with `--json` and reads the answer.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Runs, insists on this exit code, and gives what was said.
    pub fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "ipe {}: {said}", arguments.join(" "));
        said
    }
}

/// Sends the deployer's transactions one after the other.
struct Deployer {
    key: NodeKey,
    chain_id: u64,
    nonce: u64,
    sent: Vec<Value>,
}

impl Deployer {
    fn of(node: &Node) -> Self {
        let key = deployer();
        let chain_id = number(&node.answer("eth_chainId", json!([])));
        let nonce = number(&node.answer("eth_getTransactionCount", json!([key.address(), "latest"])));
        Self { key, chain_id, nonce, sent: Vec::new() }
    }

    /// Address of what is created, when it creates something.
    fn send(&mut self, node: &Node, to: TxKind, data: Bytes) -> Address {
        let created = self.key.address().create(self.nonce);
        let raw = signed(&self.key, self.chain_id, self.nonce, to, data);
        self.sent.push(node.answer("eth_sendRawTransaction", json!([raw])));
        self.nonce += 1;
        created
    }

    fn wait(&mut self, lab: &Lab, node: &Node) {
        for hash in self.sent.drain(..) {
            let mut receipt = Value::Null;
            lab.until("the contracts are deployed", || {
                receipt = node.answer("eth_getTransactionReceipt", json!([hash]));
                !receipt.is_null()
            });
            assert_eq!(receipt["status"], "0x1", "{receipt}");
        }
    }
}

fn write_key(path: &std::path::Path, key: &NodeKey) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).expect("a key file");
    file.write_all(hex::encode(key.secret_bytes().as_slice()).as_bytes()).expect("a key file");
}

/// A legacy transaction at no price.
pub fn signed(key: &NodeKey, chain_id: u64, nonce: u64, to: TxKind, input: Bytes) -> String {
    let transaction =
        TxLegacy { chain_id: Some(chain_id), nonce, gas_price: 0, gas_limit: 12_000_000, to, value: U256::ZERO, input };
    let signature = key.sign(transaction.signature_hash());
    let bytes = signature.as_slice();
    let signature = Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1);
    let envelope = ipe_types::Transaction::from(transaction.into_signed(signature));
    format!("0x{}", hex::encode(envelope.encoded_2718()))
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_default();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("{value} is no number"))
}
