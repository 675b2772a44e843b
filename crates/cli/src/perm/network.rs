//! The network's contracts, found by asking them: which generation they are, where they are, and what they keep.

use super::link::{Link, Unanswered, small};
use super::text::clean;
use crate::failure::Failure;
use alloy_primitives::{Address, B256, U256, keccak256};
use clap::Args;
use ipe_rules::abi::{
    Accounts, Admins, Gen01Accounts, Gen01Nodes, Governance, Ingress, Nodes, Organizations, Selection, SelectionIngress,
};
use ipe_rules::artifact::Contract;
use ipe_rules::{ACCOUNT_INGRESS, ADMINISTRATION, NODE_INGRESS, RULES, words};
use ipe_types::NodeId;
use serde_json::{Value, json};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Entries of one page that is asked for.
const PAGE: u64 = 50;
/// Most entries of one list: a node that tells more is not believed.
const MAX_ENTRIES: u64 = 50_000;

/// Which network to ask, and how to say it.
#[derive(Args, Clone)]
pub struct Reach {
    /// JSON-RPC address of any node of the network.
    #[arg(long, value_name = "URL", env = "IPE_RPC_URL", default_value = "http://127.0.0.1:8545")]
    pub rpc: String,
    /// Chain id that the network has to have; without it, and without --genesis, the node's word is taken, for signatures too.
    #[arg(long, value_name = "ID", env = "IPE_CHAIN_ID")]
    pub chain_id: Option<u64>,
    /// Contract that nodes ask about transactions [default: 0x...8888, or the genesis file's].
    #[arg(long, value_name = "ADDRESS", env = "IPE_ACCOUNT_INGRESS", value_parser = address)]
    pub account_ingress: Option<Address>,
    /// Contract that nodes ask about connections [default: 0x...9999, or the genesis file's].
    #[arg(long, value_name = "ADDRESS", env = "IPE_NODE_INGRESS", value_parser = address)]
    pub node_ingress: Option<Address>,
    /// Account rules to look at instead of those that the ingress names, before they are in force.
    #[arg(long, value_name = "ADDRESS", env = "IPE_ACCOUNT_RULES", value_parser = address)]
    pub account_rules: Option<Address>,
    /// Node rules to look at instead of those that the ingress names, before they are in force.
    #[arg(long, value_name = "ADDRESS", env = "IPE_NODE_RULES", value_parser = address)]
    pub node_rules: Option<Address>,
    /// Governance contract [default: found among the master administrators].
    #[arg(long, value_name = "ADDRESS", env = "IPE_GOVERNANCE", value_parser = address)]
    pub governance: Option<Address>,
    /// Contract that nodes ask who validates [default: the genesis file's, if it names one].
    #[arg(long, value_name = "ADDRESS", env = "IPE_VALIDATORS_INGRESS", value_parser = address)]
    pub validators_ingress: Option<Address>,
    /// Genesis file to take the addresses from.
    #[arg(long, value_name = "FILE", env = "IPE_GENESIS")]
    pub genesis: Option<PathBuf>,
    /// Print JSON; its shape is in docs/permissioning-cli.md.
    #[arg(long)]
    pub json: bool,
}

/// [`Reach`], and the block to look at.
#[derive(Args, Clone)]
pub struct Reading {
    #[command(flatten)]
    pub reach: Reach,
    /// Look at the contracts after this block [default: the newest].
    #[arg(long, value_name = "NUMBER")]
    pub block: Option<u64>,
}

/// An address on the command line; with capitals among its letters, its checksum has to hold.
pub fn address(text: &str) -> Result<Address, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let parsed: Address = text.parse().map_err(|_| "expected 0x and 40 hex digits".to_owned())?;
    let mixed = digits.bytes().any(|byte| byte.is_ascii_uppercase()) && digits.bytes().any(|byte| byte.is_ascii_lowercase());
    if mixed && parsed.to_checksum(None).trim_start_matches("0x") != digits {
        return Err(format!("its checksum does not hold; {parsed} has these digits"));
    }
    Ok(parsed)
}

/// Whose contract answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The ingress names no rules: everything is allowed.
    NoRules,
    /// RBB's first generation.
    Gen01,
    /// RBB's second generation.
    Gen02,
    /// Ours.
    Ipe,
    /// Something is there that is none of these.
    Unknown,
}

impl Generation {
    /// Word of the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Generation::NoRules => "none",
            Generation::Gen01 => "gen01",
            Generation::Gen02 => "gen02",
            Generation::Ipe => "ipe",
            Generation::Unknown => "unknown",
        }
    }

    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Generation::NoRules => "no rules: everything is allowed",
            Generation::Gen01 => "first generation (RBB gen01)",
            Generation::Gen02 => "second generation (RBB gen02)",
            Generation::Ipe => "this project's contracts",
            Generation::Unknown => "rules of an unknown kind",
        }
    }

    /// Whether there are organisations, roles and proposals.
    pub const fn has_organizations(self) -> bool {
        matches!(self, Generation::Gen02 | Generation::Ipe)
    }
}

/// An organisation.
#[derive(Clone, Debug)]
pub struct Org {
    pub id: u64,
    pub cnpj: String,
    pub name: String,
    pub kind: u8,
    pub votes: bool,
}

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    pub address: Address,
    pub org: u64,
    pub role: B256,
    pub hash: B256,
    pub active: bool,
}

/// A registered node.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: NodeId,
    pub kind: String,
    pub name: String,
    pub org: u64,
    pub active: bool,
    /// The first generation keeps the organisation's name with the node.
    pub org_name: Option<String>,
}

/// The network as its contracts tell it.
pub struct Network {
    pub link: Link,
    pub account_ingress: Address,
    pub node_ingress: Address,
    pub account_rules: Option<Address>,
    pub node_rules: Option<Address>,
    pub account_admin: Option<Address>,
    pub node_admin: Option<Address>,
    pub accounts_are: Generation,
    pub nodes_are: Generation,
    pub organizations: Option<Address>,
    pub admins: Vec<Address>,
    pub governance: Option<Address>,
    pub charter: Option<Address>,
    pub validators_ingress: Option<Address>,
    pub selection: Option<Address>,
    orgs: OnceCell<BTreeMap<u64, Org>>,
    /// Account and node rules were named on the command line, whatever the ingresses say.
    pinned: (bool, bool),
}

impl Network {
    /// Finds the contracts.
    pub fn open(reach: &Reach, block: Option<u64>) -> Result<Network, Failure> {
        let named = reach.genesis.as_deref().map(super::genesis::addresses).transpose()?.unwrap_or_default();
        let link = Link::open(&reach.rpc, block)?;
        for (option, expected) in [("--chain-id", reach.chain_id), ("--genesis", named.chain_id)] {
            if let Some(expected) = expected.filter(|expected| *expected != link.chain_id) {
                return Err(Failure::Usage(format!(
                    "{option}: expected chain {expected}, {} is of chain {}: another network",
                    reach.rpc, link.chain_id
                )));
            }
        }
        let account_ingress = reach.account_ingress.or(named.account_ingress).unwrap_or(ACCOUNT_INGRESS);
        let node_ingress = reach.node_ingress.or(named.node_ingress).unwrap_or(NODE_INGRESS);
        let account_rules =
            reach.account_rules.map_or_else(|| registered(&link, account_ingress, RULES), |given| Ok(Some(given)))?;
        let node_rules = reach.node_rules.map_or_else(|| registered(&link, node_ingress, RULES), |given| Ok(Some(given)))?;
        let account_admin = registered(&link, account_ingress, ADMINISTRATION)?;
        let node_admin = registered(&link, node_ingress, ADMINISTRATION)?;
        let accounts_are = account_generation(&link, account_rules)?;
        let nodes_are = node_generation(&link, node_rules)?;
        let organizations = match (account_rules, node_rules) {
            (Some(rules), _) if accounts_are.has_organizations() => {
                Some(link.read("the account rules", rules, &Accounts::organizationsCall {})?)
            }
            (_, Some(rules)) if nodes_are.has_organizations() => {
                Some(link.read("the node rules", rules, &Nodes::organizationsContractCall {})?)
            }
            _ => None,
        };
        let mut admins = Vec::new();
        for admin in [account_admin, node_admin].into_iter().flatten().collect::<std::collections::BTreeSet<_>>() {
            let told = link.read("the Admin contract", admin, &Admins::getAdminsCall {})?;
            if told.len() > 256 {
                return Err(Failure::Failed(format!(
                    "the Admin contract at {admin} tells {} administrators, expected at most 256",
                    told.len()
                )));
            }
            admins.extend(told);
        }
        admins.sort();
        admins.dedup();
        let governance = match reach.governance {
            Some(given) => Some(given),
            None => find_governance(&link, &admins, organizations)?,
        };
        let charter = match governance {
            Some(governance) => maybe(link.call(governance, &Governance::charterCall {}))?,
            None => None,
        };
        let validators_ingress = reach.validators_ingress.or(named.validators_ingress);
        let selection = match validators_ingress {
            Some(ingress) => match maybe(link.call(ingress, &SelectionIngress::validatorSelectionContractCall {}))? {
                Some(selection) => Some(selection).filter(|selection| !selection.is_zero()),
                // The genesis may name the selection itself.
                None => maybe(link.call(ingress, &Selection::getEligibleValidatorsCall {}))?.map(|_| ingress),
            },
            None => None,
        };
        Ok(Network {
            link,
            account_ingress,
            node_ingress,
            account_rules,
            node_rules,
            account_admin,
            node_admin,
            accounts_are,
            nodes_are,
            organizations,
            admins,
            governance,
            charter,
            validators_ingress,
            selection,
            orgs: OnceCell::new(),
            pinned: (reach.account_rules.is_some(), reach.node_rules.is_some()),
        })
    }

    /// The same contracts, asked by another link.
    pub fn with_link(&self, link: Link) -> Network {
        Network {
            link,
            account_ingress: self.account_ingress,
            node_ingress: self.node_ingress,
            account_rules: self.account_rules,
            node_rules: self.node_rules,
            account_admin: self.account_admin,
            node_admin: self.node_admin,
            accounts_are: self.accounts_are,
            nodes_are: self.nodes_are,
            organizations: self.organizations,
            admins: self.admins.clone(),
            governance: self.governance,
            charter: self.charter,
            validators_ingress: self.validators_ingress,
            selection: self.selection,
            orgs: OnceCell::new(),
            pinned: self.pinned,
        }
    }

    /// Looks again at which rules the ingresses name and of which generation they are.
    pub fn find_again(&mut self) -> Result<(), Failure> {
        if !self.pinned.0 {
            self.account_rules = registered(&self.link, self.account_ingress, RULES)?;
        }
        if !self.pinned.1 {
            self.node_rules = registered(&self.link, self.node_ingress, RULES)?;
        }
        self.account_admin = registered(&self.link, self.account_ingress, ADMINISTRATION)?;
        self.node_admin = registered(&self.link, self.node_ingress, ADMINISTRATION)?;
        self.accounts_are = account_generation(&self.link, self.account_rules)?;
        self.nodes_are = node_generation(&self.link, self.node_rules)?;
        Ok(())
    }

    /// What an address is in this network.
    pub fn role_of(&self, address: Address) -> Option<Contract> {
        let gen01 = |generation: Generation, old, new| if generation == Generation::Gen01 { old } else { new };
        let known = [
            (Some(self.account_ingress), Contract::AccountIngress),
            (Some(self.node_ingress), Contract::NodeIngress),
            (self.account_rules, gen01(self.accounts_are, Contract::Gen01Accounts, Contract::Accounts)),
            (self.node_rules, gen01(self.nodes_are, Contract::Gen01Nodes, Contract::Nodes)),
            (self.organizations, Contract::Organizations),
            (self.governance, Contract::Governance),
            (self.charter, Contract::Charter),
            (self.account_admin, Contract::Admin),
            (self.node_admin, Contract::Admin),
            (self.selection, Contract::Selection),
            (self.validators_ingress, Contract::SelectionIngress),
        ];
        known.into_iter().find(|(at, _)| *at == Some(address)).map(|(_, contract)| contract)
    }

    /// Address of one of the network's contracts.
    pub fn address_of(&self, contract: Contract) -> Option<Address> {
        match contract {
            Contract::Admin => self.account_admin,
            Contract::AccountIngress => Some(self.account_ingress),
            Contract::NodeIngress => Some(self.node_ingress),
            Contract::Organizations => self.organizations,
            Contract::Accounts | Contract::Gen01Accounts => self.account_rules,
            Contract::Nodes | Contract::Gen01Nodes => self.node_rules,
            Contract::Governance => self.governance,
            Contract::Charter => self.charter,
            Contract::Selection => self.selection,
            Contract::SelectionIngress => self.validators_ingress,
            Contract::Language => None,
        }
    }

    /// An address with what it is, if it is one of the network's contracts.
    pub fn label(&self, address: Address) -> String {
        match self.role_of(address) {
            Some(contract) => format!("{address} ({})", contract.name()),
            None => address.to_string(),
        }
    }

    /// An organisation's name and number; organisation 0 is governance.
    pub fn org_label(&self, id: u64) -> String {
        if id == 0 {
            return "governance".to_owned();
        }
        match self.orgs().ok().and_then(|orgs| orgs.get(&id)) {
            Some(org) => format!("{} ({id})", clean(&org.name)),
            None => format!("organization {id}, which is gone"),
        }
    }

    /// Organisations by number; none where the rules know no organisations.
    pub fn orgs(&self) -> Result<&BTreeMap<u64, Org>, Failure> {
        if let Some(orgs) = self.orgs.get() {
            return Ok(orgs);
        }
        let mut orgs = BTreeMap::new();
        if let Some(at) = self.organizations {
            for told in self.link.read("the organizations", at, &Organizations::getOrganizationsCall {})? {
                let org = Org { id: small(told.id), cnpj: told.cnpj, name: told.name, kind: told.orgType, votes: told.canVote };
                if orgs.insert(org.id, org).is_some() {
                    return Err(Failure::Failed(format!("the organizations at {at} tell two organizations of number {}", told.id)));
                }
            }
        }
        Ok(self.orgs.get_or_init(|| orgs))
    }

    /// The organisation of a number, or a failure that says which there are.
    pub fn org(&self, id: u64) -> Result<&Org, Failure> {
        self.need_organizations()?;
        let orgs = self.orgs()?;
        orgs.get(&id).ok_or_else(|| {
            let known: Vec<String> = orgs.values().map(|org| format!("{} {}", org.id, clean(&org.name))).collect();
            Failure::Failed(format!("there is no organization {id} after block {}; there are {}", self.link.at, known.join(", ")))
        })
    }

    /// The organisation of a number or of a name.
    pub fn org_named(&self, text: &str) -> Result<&Org, Failure> {
        self.need_organizations()?;
        if let Ok(id) = text.parse() {
            return self.org(id);
        }
        let orgs = self.orgs()?;
        let mut found = orgs.values().filter(|org| org.name.to_lowercase() == text.to_lowercase());
        match (found.next(), found.next()) {
            (Some(org), None) => Ok(org),
            (None, _) => Err(Failure::Failed(format!(
                "there is no organization {:?}; there are {}",
                clean(text),
                orgs.values().map(|org| clean(&org.name)).collect::<Vec<_>>().join(", ")
            ))),
            _ => Err(Failure::Failed(format!("several organizations are called {:?}: give its number", clean(text)))),
        }
    }

    /// The contract of the organisations, or a failure that says why there is none.
    pub fn need_organizations(&self) -> Result<Address, Failure> {
        self.organizations.ok_or_else(|| self.lacks("organizations"))
    }

    /// The governance contract, or a failure that says why there is none.
    pub fn need_governance(&self) -> Result<Address, Failure> {
        self.governance.ok_or_else(|| match self.accounts_are {
            Generation::Gen02 | Generation::Ipe => Failure::Failed(format!(
                "no governance contract is among the master administrators {:?}; name it with --governance",
                self.admins
            )),
            _ => self.lacks("proposals"),
        })
    }

    /// The account rules, or a failure.
    pub fn need_accounts(&self) -> Result<Address, Failure> {
        self.account_rules.ok_or_else(|| self.lacks("accounts"))
    }

    /// The node rules, or a failure.
    pub fn need_nodes(&self) -> Result<Address, Failure> {
        self.node_rules.ok_or_else(|| {
            Failure::Failed(format!(
                "the node ingress {} names no rules after block {}: every connection is allowed; name another with --node-ingress",
                self.node_ingress, self.link.at
            ))
        })
    }

    fn lacks(&self, what: &str) -> Failure {
        Failure::Failed(format!(
            "this network has no {what}: account ingress {} after block {}: {}; name another with --account-ingress or --genesis",
            self.account_ingress,
            self.link.at,
            self.accounts_are.words()
        ))
    }

    /// Every account.
    pub fn accounts(&self) -> Result<Vec<Account>, Failure> {
        let rules = self.need_accounts()?;
        match self.accounts_are {
            Generation::Gen01 => {
                let told = self.link.read("the account rules", rules, &Gen01Accounts::getAccountsCall {})?;
                Ok(told.into_iter().map(permitted).collect())
            }
            Generation::Gen02 | Generation::Ipe => {
                let count = self.link.read("the account rules", rules, &Accounts::getNumberOfAccountsCall {})?;
                let told = pages("accounts", count, |page, size| {
                    self.link.read("the account rules", rules, &Accounts::getAccountsCall { pageNumber: page, pageSize: size })
                })?;
                Ok(told
                    .into_iter()
                    .map(|told| Account {
                        address: told.account,
                        org: small(told.orgId),
                        role: told.roleId,
                        hash: told.dataHash,
                        active: told.active,
                    })
                    .collect())
            }
            Generation::NoRules | Generation::Unknown => Err(self.lacks("accounts that can be listed")),
        }
    }

    /// One account; `None` when it is not registered.
    pub fn account(&self, address: Address) -> Result<Option<Account>, Failure> {
        let rules = self.need_accounts()?;
        match self.accounts_are {
            Generation::Gen01 => {
                let is = self.link.read("the account rules", rules, &Gen01Accounts::accountPermittedCall { account: address })?;
                Ok(is.then(|| permitted(address)))
            }
            Generation::Gen02 | Generation::Ipe => {
                let told = self.link.read("the account rules", rules, &Accounts::accountsCall { account: address })?;
                Ok((!told.owner.is_zero()).then(|| Account {
                    address,
                    org: small(told.orgId),
                    role: told.roleId,
                    hash: told.dataHash,
                    active: told.active,
                }))
            }
            Generation::NoRules | Generation::Unknown => Err(self.lacks("accounts that can be shown")),
        }
    }

    /// Whether an account counts: it is active and its organisation exists.
    pub fn counts(&self, account: &Account) -> Result<bool, Failure> {
        Ok(account.active && (self.accounts_are == Generation::Gen01 || self.orgs()?.contains_key(&account.org)))
    }

    /// Every node.
    pub fn nodes(&self) -> Result<Vec<Node>, Failure> {
        let rules = self.need_nodes()?;
        match self.nodes_are {
            Generation::Gen01 => {
                let count = self.link.read("the node rules", rules, &Gen01Nodes::getSizeCall {})?;
                let count = bounded("nodes", count)?;
                (0..count)
                    .map(|index| {
                        let told =
                            self.link.read("the node rules", rules, &Gen01Nodes::getByIndexCall { index: U256::from(index) })?;
                        Ok(Node {
                            id: node_id(told.enodeHigh, told.enodeLow),
                            kind: words::word(&words::GEN01_NODE_TYPES, told.nodeType),
                            name: told.name,
                            org: 0,
                            active: true,
                            org_name: Some(told.organization),
                        })
                    })
                    .collect()
            }
            Generation::Gen02 | Generation::Ipe => {
                let count = self.link.read("the node rules", rules, &Nodes::getNumberOfNodesCall {})?;
                let told = pages("nodes", count, |page, size| {
                    self.link.read("the node rules", rules, &Nodes::getNodesCall { pageNumber: page, pageSize: size })
                })?;
                Ok(told
                    .into_iter()
                    .map(|told| Node {
                        id: node_id(told.enodeHigh, told.enodeLow),
                        kind: words::word(&words::NODE_TYPES, told.nodeType),
                        name: told.name,
                        org: small(told.orgId),
                        active: told.active,
                        org_name: None,
                    })
                    .collect())
            }
            Generation::NoRules | Generation::Unknown => Err(Failure::Failed(format!(
                "the node ingress {} after block {}: {}",
                self.node_ingress,
                self.link.at,
                self.nodes_are.words()
            ))),
        }
    }

    /// One node; `None` when it is not registered.
    pub fn node(&self, id: NodeId) -> Result<Option<Node>, Failure> {
        let rules = self.need_nodes()?;
        match self.nodes_are {
            // The first generation finds by number alone, so all are read.
            Generation::Gen01 => Ok(self.nodes()?.into_iter().find(|node| node.id == id)),
            Generation::Gen02 | Generation::Ipe => {
                let key = U256::from_be_bytes(keccak256(id).0);
                let told = self.link.read("the node rules", rules, &Nodes::allowedNodesCall { key })?;
                Ok((!told.orgId.is_zero()).then(|| Node {
                    id,
                    kind: words::word(&words::NODE_TYPES, told.nodeType),
                    name: told.name,
                    org: small(told.orgId),
                    active: told.active,
                    org_name: None,
                }))
            }
            Generation::NoRules | Generation::Unknown => self.nodes().map(|_| None),
        }
    }

    /// Whose a node is.
    pub fn owner(&self, node: &Node) -> String {
        node.org_name.as_deref().map_or_else(|| self.org_label(node.org), clean)
    }

    /// Whether the node ingress lets two nodes be connected.
    pub fn connected(&self, a: NodeId, b: NodeId) -> Result<bool, Unanswered> {
        let answer = self.link.call(self.node_ingress, &connection(a, b))?;
        if answer == ipe_rules::CONNECTION_ALLOWED {
            return Ok(true);
        }
        let mut denied = B256::repeat_byte(0xff);
        denied[0] = 0x7f;
        if answer == denied {
            return Ok(false);
        }
        Err(Unanswered::Node(format!(
            "the node ingress {} answered {answer}, neither the word for allowed nor the one for denied",
            self.node_ingress
        )))
    }

    /// Whether the account ingress lets a transaction be; `None` creates a contract.
    pub fn may_send(&self, sender: Address, target: Option<Address>, block: u64) -> Result<bool, Unanswered> {
        let ask = Ingress::transactionAllowedCall {
            sender,
            target: target.unwrap_or_default(),
            value: U256::ZERO,
            gasPrice: U256::ZERO,
            gasLimit: U256::ZERO,
            payload: Default::default(),
        };
        self.link.call_at(self.account_ingress, &ask, block)
    }

    /// `{chainId, block, accountRules, nodeRules}`: what every answer says about where it is from.
    pub fn json(&self) -> Value {
        json!({
            "chainId": self.link.chain_id,
            "block": self.link.at,
            "accountRules": self.accounts_are.name(),
            "nodeRules": self.nodes_are.name(),
        })
    }
}

/// The call that asks about two nodes; addresses are not told, the rules ignore them.
pub fn connection(a: NodeId, b: NodeId) -> Ingress::connectionAllowedCall {
    let ((source_high, source_low), (high, low)) = (halves(a), halves(b));
    Ingress::connectionAllowedCall {
        sourceEnodeHigh: source_high,
        sourceEnodeLow: source_low,
        sourceEnodeIp: Default::default(),
        sourceEnodePort: 0,
        destinationEnodeHigh: high,
        destinationEnodeLow: low,
        destinationEnodeIp: Default::default(),
        destinationEnodePort: 0,
    }
}

/// A node's key as the contracts take it.
pub fn halves(id: NodeId) -> (B256, B256) {
    (B256::from_slice(&id[..32]), B256::from_slice(&id[32..]))
}

fn node_id(high: B256, low: B256) -> NodeId {
    let mut id = NodeId::default();
    id[..32].copy_from_slice(high.as_slice());
    id[32..].copy_from_slice(low.as_slice());
    id
}

fn permitted(address: Address) -> Account {
    Account { address, org: 0, role: B256::ZERO, hash: B256::ZERO, active: true }
}

/// What is registered under a name; `None` for nothing, or when there is no ingress.
fn registered(link: &Link, ingress: Address, name: B256) -> Result<Option<Address>, Failure> {
    let found = maybe(link.call(ingress, &Ingress::getContractAddressCall { name }))?;
    Ok(found.filter(|found| !found.is_zero()))
}

/// An answer, or `None` from a contract that has no such function; what the node itself refuses is a failure.
pub fn maybe<T>(answer: Result<T, Unanswered>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_other_contract() => Ok(None),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

fn account_generation(link: &Link, rules: Option<Address>) -> Result<Generation, Failure> {
    let Some(rules) = rules else { return Ok(Generation::NoRules) };
    if maybe(link.call(rules, &Accounts::getNumberOfAccountsCall {}))?.is_some() {
        let ours = maybe(link.call(rules, &Accounts::LIST_MAXCall {}))?.is_some();
        return Ok(if ours { Generation::Ipe } else { Generation::Gen02 });
    }
    let first = maybe(link.call(rules, &Gen01Accounts::isReadOnlyCall {}))?.is_some();
    Ok(if first { Generation::Gen01 } else { Generation::Unknown })
}

fn node_generation(link: &Link, rules: Option<Address>) -> Result<Generation, Failure> {
    let Some(rules) = rules else { return Ok(Generation::NoRules) };
    if maybe(link.call(rules, &Nodes::getNumberOfNodesCall {}))?.is_some() {
        let ours = maybe(link.call(rules, &Nodes::topologyCall {}))?.is_some();
        return Ok(if ours { Generation::Ipe } else { Generation::Gen02 });
    }
    let first = maybe(link.call(rules, &Gen01Nodes::isReadOnlyCall {}))?.is_some();
    Ok(if first { Generation::Gen01 } else { Generation::Unknown })
}

/// The master administrator that keeps proposals about these organisations.
fn find_governance(link: &Link, admins: &[Address], organizations: Option<Address>) -> Result<Option<Address>, Failure> {
    let Some(organizations) = organizations else { return Ok(None) };
    let mut found = None;
    for admin in admins {
        let about = maybe(link.call(*admin, &Governance::organizationsCall {}))?;
        let proposals = maybe(link.call(*admin, &Governance::getNumberOfProposalsCall {}))?;
        if about == Some(organizations) && proposals.is_some() {
            if let Some(first) = found {
                return Err(Failure::Failed(format!(
                    "two governance contracts are master administrators, {first} and {admin}: name one with --governance"
                )));
            }
            found = Some(*admin);
        }
    }
    Ok(found)
}

/// A count that a list may have.
pub fn bounded(what: &str, count: U256) -> Result<u64, Failure> {
    u64::try_from(count)
        .ok()
        .filter(|count| *count <= MAX_ENTRIES)
        .ok_or_else(|| Failure::Failed(format!("the contract tells {count} {what}, at most {MAX_ENTRIES} are read")))
}

/// All pages of a list; pages that are not as long as the count says are a failure.
pub fn pages<T>(what: &str, count: U256, mut page: impl FnMut(U256, U256) -> Result<Vec<T>, Failure>) -> Result<Vec<T>, Failure> {
    let count = bounded(what, count)?;
    let mut all = Vec::new();
    for number in 1..=count.div_ceil(PAGE) {
        let expected = PAGE.min(count - (number - 1) * PAGE);
        let got = page(U256::from(number), U256::from(PAGE))?;
        if got.len() as u64 != expected {
            return Err(Failure::Failed(format!(
                "the contract tells {count} {what}, but page {number} has {} of them, expected {expected}: the node's answers contradict each other",
                got.len()
            )));
        }
        all.extend(got);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_wrong_checksum_is_refused() {
        let right = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045";
        assert!(address(right).is_ok() && address(&right.to_lowercase()).is_ok());
        let error = address("0xD8dA6BF26964aF9D7eEd9e03E53415D37aA96045").unwrap_err();
        assert!(error.contains("checksum"), "{error}");
        assert!(address("0x12").is_err());
    }

    #[test]
    fn pages_that_contradict_the_count_are_refused() {
        assert_eq!(
            pages("nodes", U256::from(51), |page, _| Ok(vec![0; if page == U256::from(1) { 50 } else { 1 }]))
                .map(|all| all.len())
                .unwrap(),
            51
        );
        let error = pages("nodes", U256::from(51), |_, _| Ok(vec![0; 50])).unwrap_err();
        assert!(matches!(error, Failure::Failed(text) if text.contains("contradict")));
        let error = pages("nodes", U256::MAX, |_, _| Ok(vec![0; 50])).unwrap_err();
        assert!(matches!(error, Failure::Failed(text) if text.contains("at most 50000")));
    }
}
