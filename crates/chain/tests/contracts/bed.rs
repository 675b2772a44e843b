//! A ledger with the committed contracts on it, called as accounts and nodes call them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256, keccak256};
use alloy_sol_types::{SolCall, SolConstructor};
use ipe_chain::kv::MemoryStore;
use ipe_chain::view::SimDb;
use ipe_chain::{Ledger, Overrides, Relax, call};
use ipe_types::genesis::GenesisBuilder;
use ipe_types::spec::ChainSpec;
use revm::DatabaseCommit;
use revm::context::TxEnv;
use revm::context::result::ExecutionResult;
use serde_json::Value;

use crate::abi::{Acc, Gov, Node, Org};

/// Gas of RBB's blocks: what one transaction may use.
pub const BLOCK_GAS: u64 = 16_000_000;

/// Folder of the committed artifacts.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

/// Where the artifacts of the run are: ours, or those that `IPE_GEN02_ARTIFACTS` names (RBB's second generation, compiled by
/// Hardhat), so that a rule of ours can be seen to fail there.
pub fn other_generation() -> Option<PathBuf> {
    std::env::var_os("IPE_GEN02_ARTIFACTS").map(PathBuf::from)
}

/// A committed artifact.
pub fn artifact(name: &str) -> Value {
    let ours = folder().join("artifacts");
    let path = match other_generation() {
        Some(theirs) if theirs.join(format!("{name}.sol/{name}.json")).exists() => theirs.join(format!("{name}.sol/{name}.json")),
        _ if ours.join(format!("{name}.json")).exists() => ours.join(format!("{name}.json")),
        _ => ours.join(format!("test/{name}.json")),
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Account number `n`.
pub fn account(n: u8) -> Address {
    Address::repeat_byte(n)
}

/// What a transaction came to.
pub struct Sent {
    /// Output of a success, name of the error of a failure (or its data in hex).
    pub result: Result<Bytes, String>,
    pub logs: Vec<Log>,
    pub gas: u64,
}

impl Sent {
    #[track_caller]
    pub fn ok(self) -> Bytes {
        self.result.unwrap_or_else(|error| panic!("refused: {error}"))
    }

    #[track_caller]
    pub fn err(self) -> String {
        match self.result {
            Ok(_) => panic!("went through"),
            Err(name) => name,
        }
    }

    pub fn is_ok(&self) -> bool {
        self.result.is_ok()
    }
}

/// State in memory over a genesis of the Berlin rules, and a block number that tests move.
pub struct Bed {
    db: SimDb,
    env: ipe_chain::Env,
    nonces: BTreeMap<Address, u64>,
    errors: BTreeMap<[u8; 4], String>,
    /// Most gas that one transaction has used, by what was called.
    pub gas: BTreeMap<String, u64>,
}

impl Bed {
    pub fn new() -> Self {
        let genesis = GenesisBuilder { validators: vec![account(0xee)], ..GenesisBuilder::default() };
        let mut genesis: Value = serde_json::from_str(&genesis.to_json().unwrap()).unwrap();
        let config = genesis["config"].as_object_mut().unwrap();
        config.retain(|name, _| !name.ends_with("Block") && !name.ends_with("Time"));
        config.insert("berlinBlock".to_owned(), 0.into());
        genesis["gasLimit"] = format!("{BLOCK_GAS:#x}").into();
        let spec = ChainSpec::parse(&genesis.to_string()).unwrap();
        let ledger = Ledger::open(Arc::new(MemoryStore::new()), Arc::new(spec)).unwrap();
        let view = ledger.view(0).unwrap().unwrap();
        let mut env = ledger.env(view.header());
        Relax::default().apply(&mut env);
        env.block.number = U256::from(1_000);
        let mut errors = BTreeMap::new();
        for name in [
            "OrganizationImpl",
            "AccountRulesV2Impl",
            "NodeRulesV2Impl",
            "Governance",
            "Charter",
            "Admin",
            "AccountIngress",
            "ValidatorSelection",
            "ValidatorSelectionIngress",
        ] {
            for item in artifact(name)["abi"].as_array().unwrap() {
                if item["type"] == "error" {
                    let hash = keccak256(signature(item));
                    errors.insert([hash[0], hash[1], hash[2], hash[3]], item["name"].as_str().unwrap().to_owned());
                }
            }
        }
        // Errors of libraries, which reach callers through the contracts that use them.
        for (name, arguments) in
            [("NobodyCouldVote", "()"), ("IngressWouldFail", "(address,string)"), ("Error", "(string)"), ("Panic", "(uint256)")]
        {
            let hash = keccak256(format!("{name}{arguments}"));
            errors.insert([hash[0], hash[1], hash[2], hash[3]], name.to_owned());
        }
        Self { db: view.with(&Overrides::new()).unwrap(), env, nonces: BTreeMap::new(), errors, gas: BTreeMap::new() }
    }

    /// Block in which the next transactions are.
    pub fn block(&self) -> u64 {
        self.env.block.number.to()
    }

    pub fn mine(&mut self, blocks: u64) {
        self.env.block.number += U256::from(blocks);
    }

    /// Proposer of the next transactions' blocks.
    pub fn proposer(&mut self, who: Address) {
        self.env.block.beneficiary = who;
    }

    /// What BLOCKHASH answers for a height.
    pub fn block_hash(&mut self, number: u64, hash: B256) {
        self.db.cache.block_hashes.insert(U256::from(number), hash);
    }

    fn run(&mut self, from: Address, kind: TxKind, data: Bytes, what: &str, keep: bool) -> Sent {
        let nonce = self.nonces.get(&from).copied().unwrap_or(0);
        let tx = TxEnv {
            caller: from,
            gas_limit: BLOCK_GAS,
            gas_price: 0,
            kind,
            data,
            nonce,
            chain_id: Some(self.env.cfg.chain_id),
            ..TxEnv::default()
        };
        let simulated = call(&mut self.db, &self.env, tx).unwrap();
        let gas = simulated.result.tx_gas_used();
        if keep {
            self.nonces.insert(from, nonce + 1);
            self.db.commit(simulated.state);
            if simulated.result.is_success() {
                let most = self.gas.entry(what.to_owned()).or_default();
                *most = gas.max(*most);
            }
        }
        let logs = simulated.result.logs().to_vec();
        let result = match simulated.result {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            ExecutionResult::Revert { output, .. } => Err(self.error(&output)),
            ExecutionResult::Halt { reason, .. } => Err(format!("{reason:?}")),
        };
        Sent { result, logs, gas }
    }

    fn error(&self, output: &Bytes) -> String {
        let name = output.get(..4).and_then(|selector| self.errors.get(selector));
        let text = |at: usize| {
            let length = usize::try_from(U256::from_be_slice(output.get(at..at + 32)?)).ok()?;
            String::from_utf8(output.get(at + 32..at + 32 + length)?.to_vec()).ok()
        };
        match name.map(String::as_str) {
            Some("Error" | "InvalidArgument" | "IllegalState") => format!("{}: {}", name.unwrap(), text(36).unwrap_or_default()),
            Some(name) => name.to_owned(),
            None => output.to_string(),
        }
    }

    /// Deploys an artifact.
    pub fn deploy(&mut self, from: Address, name: &str, arguments: &[u8]) -> Result<Address, String> {
        let code = artifact(name)["bytecode"].as_str().unwrap().parse::<Bytes>().unwrap();
        let created = from.create(self.nonces.get(&from).copied().unwrap_or(0));
        let data = [code.as_ref(), arguments].concat().into();
        self.run(from, TxKind::Create, data, &format!("deploy {name}"), true).result.map(|_| created)
    }

    /// Puts a contract at another address, as a genesis may have it.
    pub fn move_to(&mut self, from: Address, to: Address) {
        let moved = self.db.cache.accounts.remove(&from).unwrap();
        self.db.cache.accounts.insert(to, moved);
    }

    /// The contracts as the accounts of a genesis, in order.
    pub fn alloc(&self) -> Value {
        let mut alloc = serde_json::Map::new();
        let accounts: BTreeMap<_, _> = self.db.cache.accounts.iter().collect();
        for (address, held) in accounts {
            let code = held.info.code.clone().or_else(|| self.db.cache.contracts.get(&held.info.code_hash).cloned());
            let Some(code) = code.filter(|code| !code.is_empty()) else { continue };
            let slots: BTreeMap<_, _> = held.storage.iter().filter(|(_, value)| !value.is_zero()).collect();
            let storage: serde_json::Map<String, Value> =
                slots.into_iter().map(|(slot, value)| (format!("{slot:#066x}"), format!("{value:#066x}").into())).collect();
            let account =
                serde_json::json!({ "balance": "0x0", "nonce": "0x1", "code": code.original_bytes(), "storage": storage });
            alloc.insert(format!("{address:#x}"), account);
        }
        alloc.into()
    }

    /// Sends a transaction; `what` is the call's signature.
    pub fn send<C: SolCall>(&mut self, from: Address, to: Address, call: C) -> Sent {
        self.run(from, TxKind::Call(to), call.abi_encode().into(), C::SIGNATURE, true)
    }

    /// Asks; nothing is kept.
    #[track_caller]
    pub fn ask<C: SolCall>(&mut self, to: Address, call: C) -> C::Return {
        let output = self.run(Address::ZERO, TxKind::Call(to), call.abi_encode().into(), "", false).ok();
        C::abi_decode_returns(&output).unwrap()
    }

    pub fn chain_id(&self) -> u64 {
        self.env.cfg.chain_id
    }
}

/// The signature that an error's or function's selector is the hash of.
pub fn signature(item: &Value) -> String {
    let inputs: Vec<String> = item["inputs"].as_array().unwrap().iter().map(canonical).collect();
    format!("{}({})", item["name"].as_str().unwrap(), inputs.join(","))
}

fn canonical(input: &Value) -> String {
    let kind = input["type"].as_str().unwrap();
    match kind.strip_prefix("tuple") {
        Some(rest) => {
            let inside: Vec<String> = input["components"].as_array().unwrap().iter().map(canonical).collect();
            format!("({}){rest}", inside.join(","))
        }
        None => kind.to_owned(),
    }
}

/// Four organisations as in RBB (two patrons, an associate, a partner), one global administrator each, and the governance
/// contract as master administrator beside account 0xad.
pub struct Network {
    pub bed: Bed,
    pub admin: Address,
    pub org: Address,
    pub acc: Address,
    pub node: Address,
    pub gov: Address,
}

/// The master administrator of the start.
pub const MASTER: u8 = 0xad;

impl Network {
    pub fn new() -> Self {
        Self::of(&[(2, true), (2, true), (1, true), (0, false)])
    }

    /// Organisations of these kinds (0 partner, 1 associate, 2 patron) and rights to vote; the administrator of
    /// organisation `n` is account `n`.
    pub fn of(kinds: &[(u8, bool)]) -> Self {
        let mut bed = Bed::new();
        let master = account(MASTER);
        let admin = bed.deploy(master, "AdminMock", &[]).unwrap();
        bed.send(master, admin, crate::abi::AdminAbi::addAdminCall { account: master }).ok();
        let orgs: Vec<Org::OrganizationData> = kinds
            .iter()
            .enumerate()
            .map(|(index, (kind, vote))| Org::OrganizationData {
                id: U256::ZERO,
                cnpj: format!("{index:014}"),
                name: format!("Org{index}"),
                orgType: *kind,
                canVote: *vote,
            })
            .collect();
        let org = bed.deploy(master, "OrganizationImpl", &Org::constructorCall { orgs, admins: admin }.abi_encode()).unwrap();
        let heads: Vec<Address> = (1..=kinds.len()).map(|n| account(n as u8)).collect();
        let acc = bed
            .deploy(master, "AccountRulesV2Impl", &Acc::constructorCall { orgs: org, accs: heads, admins: admin }.abi_encode())
            .unwrap();
        let node = bed
            .deploy(master, "NodeRulesV2Impl", &Node::constructorCall { orgs: org, accs: acc, admins: admin }.abi_encode())
            .unwrap();
        let gov =
            bed.deploy(master, "Governance", &Gov::constructorCall { orgs: org, accs: acc, admins: admin }.abi_encode()).unwrap();
        bed.send(master, admin, crate::abi::AdminAbi::addAdminCall { account: gov }).ok();
        Self { bed, admin, org, acc, node, gov }
    }

    /// Account `from` proposes calls; the proposal's number, or why not.
    pub fn propose(&mut self, from: u8, calls: &[(Address, Vec<u8>)]) -> Result<U256, String> {
        self.propose_for(from, calls, 100)
    }

    pub fn propose_for(&mut self, from: u8, calls: &[(Address, Vec<u8>)], blocks: u64) -> Result<U256, String> {
        let create = Gov::createProposalCall {
            targets: calls.iter().map(|(target, _)| *target).collect(),
            calldatas: calls.iter().map(|(_, data)| data.clone().into()).collect(),
            blocksDuration: U256::from(blocks),
            description: "a proposal".to_owned(),
        };
        let output = self.bed.send(account(from), self.gov, create).result?;
        Ok(U256::from_be_slice(&output))
    }

    pub fn vote(&mut self, from: u8, id: U256, approve: bool) -> Sent {
        self.bed.send(account(from), self.gov, Gov::castVoteCall { proposalId: id, approve })
    }

    pub fn execute(&mut self, from: u8, id: U256) -> Sent {
        self.bed.send(account(from), self.gov, Gov::executeProposalCall { proposalId: id })
    }

    /// Organisations 1 and 2 approve what organisation 1 proposes, which then executes it.
    pub fn decide(&mut self, calls: &[(Address, Vec<u8>)]) -> Sent {
        let id = self.propose(1, calls).unwrap();
        self.vote(1, id, true).ok();
        self.vote(2, id, true).ok();
        self.execute(1, id)
    }

    /// As the second generation's master administrator, which tests may use to get somewhere.
    pub fn master<C: SolCall>(&mut self, to: Address, call: C) -> Sent {
        self.bed.send(account(MASTER), to, call)
    }

    pub fn allowed(&mut self, sender: Address, target: Address) -> bool {
        let ask = Acc::transactionAllowedCall {
            sender,
            target,
            value: U256::ZERO,
            gasPrice: U256::ZERO,
            gasLimit: U256::ZERO,
            payload: Bytes::new(),
        };
        self.bed.ask(self.acc, ask)
    }

    pub fn connected(&mut self, a: (B256, B256), b: (B256, B256)) -> bool {
        let ask = Node::connectionAllowedCall {
            sourceEnodeHigh: a.0,
            sourceEnodeLow: a.1,
            sourceEnodeIp: Default::default(),
            sourceEnodePort: 0,
            destinationEnodeHigh: b.0,
            destinationEnodeLow: b.1,
            destinationEnodeIp: Default::default(),
            destinationEnodePort: 0,
        };
        self.bed.ask(self.node, ask) == B256::repeat_byte(0xff)
    }
}
