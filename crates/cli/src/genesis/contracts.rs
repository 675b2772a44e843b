//! The permissioning contracts in a genesis: code, storage and administrators in place from block 0 on, so that there is no block in
//! which a stranger could register.
//!
//! Constructors and set-up calls are executed on a chain without accounts; what they leave behind is the genesis' alloc. The two
//! ingresses come to the addresses that nodes ask.

use crate::failure::Failure;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolConstructor, sol};
use ipe_chain::founding::{FoundingError, Step, found};
use ipe_node::config::read_text;
use ipe_rules::abi::Governance::Rule;
use ipe_rules::abi::{Accounts, Admins, Charter, Ingress, Nodes};
use ipe_rules::artifact::{Contract, creation_code};
use ipe_rules::{ACCOUNT_INGRESS, NODE_INGRESS, RULES, catalogue, words};
use ipe_types::Enode;
use ipe_types::fork::Fork;
use ipe_types::genesis::GenesisAccount;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Bytes that the file may have: some ten thousand accounts.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

sol! {
    struct OrganizationData { uint256 id; string cnpj; string name; uint8 orgType; bool canVote; }
    contract OfOrganizations { constructor(OrganizationData[] orgs, address admins); }
    contract OfAccounts { constructor(address orgs, address[] accs, address admins); }
    contract OfOthers { constructor(address orgs, address accs, address admins); }
    contract OfIngress { constructor(address administration); }
    function sealAdmins() external;
    function setTopology(uint8 newTopology) external;
    function setProtectedIngresses(address[] newIngresses) external;
}

/// What the file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Founding {
    organizations: Vec<Organization>,
    #[serde(default)]
    accounts: Vec<Account>,
    #[serde(default)]
    nodes: Vec<Node>,
    /// Rules by kind of decision.
    #[serde(default)]
    rules: BTreeMap<String, Decision>,
    topology: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Organization {
    name: String,
    cnpj: String,
    r#type: String,
    votes: bool,
    /// Global administrators, at least one.
    administrators: Vec<Address>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    address: Address,
    organization: String,
    role: String,
    #[serde(default)]
    digest: B256,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    enode: String,
    organization: String,
    r#type: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Decision {
    threshold: Option<String>,
    quorum: Option<String>,
    #[serde(default)]
    delay_blocks: u32,
    #[serde(default)]
    veto_blocks: u32,
    execution_blocks: Option<u32>,
    #[serde(default)]
    patron_consent: bool,
    #[serde(default)]
    approved_stands: bool,
}

/// The account that deploys. Nobody has its key: its address is a hash of words.
fn founder() -> Address {
    Address::from_word(alloy_primitives::keccak256("ipe: who founds a network"))
}

/// Accounts of the contracts that the file describes.
///
/// # Errors
/// What of the file is wrong, or which step a contract refuses and by which rule.
pub fn alloc(file: &Path, chain_id: u64, fork: Fork) -> Result<BTreeMap<Address, GenesisAccount>, Failure> {
    let text = read_text(file, MAX_BYTES)?;
    made(&text, chain_id, fork).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

fn made(text: &str, chain_id: u64, fork: Fork) -> Result<BTreeMap<Address, GenesisAccount>, String> {
    let founding: Founding = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let plan = Plan::of(&founding)?;
    let steps: Vec<Step> = plan.steps.iter().map(|(_, step)| step.clone()).collect();
    let mut accounts = found(chain_id, fork, &steps).map_err(|error| match error {
        FoundingError::Refused { step, reason, output } => {
            let what = &plan.steps[step].0;
            let why = catalogue::error(&output).map_or(reason, |error| {
                let rule = ipe_rules::refusal::explain(&error).map(|why| format!(": {}", why.rule)).unwrap_or_default();
                format!("{}{}{rule}", error.name, error.message().map(|text| format!(" ({text})")).unwrap_or_default())
            });
            format!("{what} is refused by the contracts: {why}")
        }
        other => other.to_string(),
    })?;
    for (made, fixed) in plan.moved {
        let account = accounts.remove(&made).ok_or_else(|| format!("the contract at {made} left no code"))?;
        accounts.insert(fixed, account);
    }
    Ok(accounts)
}

/// Steps with what each is for, and contracts that come to other addresses.
struct Plan {
    steps: Vec<(String, Step)>,
    moved: [(Address, Address); 2],
}

impl Plan {
    fn of(founding: &Founding) -> Result<Plan, String> {
        let founder = founder();
        let mut nonce = 0;
        let mut steps: Vec<(String, Step)> = Vec::new();
        let mut by_founder = |steps: &mut Vec<(String, Step)>, what: String, to: Option<Address>, data: Bytes| {
            steps.push((what, Step { from: founder, to, data }));
            nonce += 1;
            founder.create(nonce - 1)
        };
        let mut create = |steps: &mut Vec<(String, Step)>, contract: Contract, arguments: Vec<u8>| {
            by_founder(
                steps,
                format!("the contract {}", contract.name()),
                None,
                [creation_code(contract).as_ref(), &arguments].concat().into(),
            )
        };

        let number = |name: &str| {
            let at = founding.organizations.iter().position(|org| org.name == name);
            at.map(|at| U256::from(at + 1)).ok_or_else(|| format!("organization {name:?}: there is none of this name in the file"))
        };
        let mut orgs = Vec::new();
        let mut seen = BTreeSet::new();
        for org in &founding.organizations {
            let kind = words::number(&words::ORG_TYPES, &org.r#type).ok_or_else(|| {
                format!("organization {:?}: type {:?}, expected one of {}", org.name, org.r#type, words::ORG_TYPES.join(", "))
            })?;
            if org.administrators.is_empty() {
                return Err(format!("organization {:?} has no administrators: nobody could act for it", org.name));
            }
            for administrator in &org.administrators {
                if administrator.is_zero() || !seen.insert(*administrator) {
                    return Err(format!("organization {:?}: administrator {administrator} is zero, or named twice", org.name));
                }
            }
            orgs.push(OrganizationData {
                id: U256::ZERO,
                cnpj: org.cnpj.clone(),
                name: org.name.clone(),
                orgType: kind,
                canVote: org.votes,
            });
        }
        if orgs.len() < 2 {
            return Err(format!("{} organizations, expected two or more", orgs.len()));
        }
        let accs: Vec<Address> = founding.organizations.iter().filter_map(|org| org.administrators.first().copied()).collect();

        let admin = create(&mut steps, Contract::Admin, Vec::new());
        let org =
            create(&mut steps, Contract::Organizations, OfOrganizations::constructorCall { orgs, admins: admin }.abi_encode());
        let accounts =
            create(&mut steps, Contract::Accounts, OfAccounts::constructorCall { orgs: org, accs, admins: admin }.abi_encode());
        let others = OfOthers::constructorCall { orgs: org, accs: accounts, admins: admin }.abi_encode();
        let nodes = create(&mut steps, Contract::Nodes, others.clone());
        let governance = create(&mut steps, Contract::Governance, others);
        let ingress = OfIngress::constructorCall { administration: admin }.abi_encode();
        let account_ingress = create(&mut steps, Contract::AccountIngress, ingress.clone());
        let node_ingress = create(&mut steps, Contract::NodeIngress, ingress);
        // The first contract that governance creates, in its constructor.
        let charter = governance.create(1);

        let mut call = |from: Address, what: String, to: Address, data: Vec<u8>| {
            steps.push((what, Step { from, to: Some(to), data: data.into() }));
        };
        for (ingress, rules) in [(account_ingress, accounts), (node_ingress, nodes)] {
            call(
                founder,
                "registering the rules".to_owned(),
                ingress,
                Ingress::setContractAddressCall { name: RULES, target: rules }.abi_encode(),
            );
        }
        for org in &founding.organizations {
            for administrator in org.administrators.iter().skip(1) {
                let add = Accounts::addAccountCall {
                    account: *administrator,
                    orgId: number(&org.name)?,
                    roleId: words::GLOBAL_ADMIN_ROLE,
                    dataHash: B256::ZERO,
                };
                call(founder, format!("administrator {administrator} of {:?}", org.name), accounts, add.abi_encode());
            }
        }
        for account in &founding.accounts {
            let role = words::role_id(&account.role).ok_or_else(|| {
                format!(
                    "account {}: role {:?}, expected one of {}",
                    account.address,
                    account.role,
                    words::ROLES.map(|(name, _)| name).join(", ")
                )
            })?;
            let add = Accounts::addAccountCall {
                account: account.address,
                orgId: number(&account.organization)?,
                roleId: role,
                dataHash: account.digest,
            };
            call(founder, format!("account {}", account.address), accounts, add.abi_encode());
        }
        for node in &founding.nodes {
            let enode: Enode = node.enode.parse().map_err(|error| format!("node {:?}: {error}", node.name))?;
            let kind = words::number(&words::NODE_TYPES, &node.r#type).ok_or_else(|| {
                format!("node {:?}: type {:?}, expected one of {}", node.name, node.r#type, words::NODE_TYPES.join(", "))
            })?;
            let add = Nodes::addNodeCall {
                enodeHigh: B256::from_slice(&enode.id[..32]),
                enodeLow: B256::from_slice(&enode.id[32..]),
                nodeType: kind,
                name: node.name.clone(),
                orgId: number(&node.organization)?,
            };
            call(founder, format!("node {:?}", node.name), nodes, add.abi_encode());
        }
        call(
            founder,
            "making governance master administrator".to_owned(),
            admin,
            Admins::addAdminCall { account: governance }.abi_encode(),
        );
        // From here on as governance itself: parameters, and an administration that obeys it alone.
        for (kind, decision) in &founding.rules {
            let number = words::number(&words::KINDS, kind)
                .ok_or_else(|| format!("rules: {kind:?}, expected one of {}", words::KINDS.join(", ")))?;
            let set = Charter::setRuleCall {
                kind: number,
                rule: decision.rule().map_err(|error| format!("rules of {kind:?}: {error}"))?,
            };
            call(governance, format!("the rule of {kind} decisions"), charter, set.abi_encode());
        }
        if let Some(topology) = &founding.topology {
            let number = words::number(&words::TOPOLOGIES, topology)
                .ok_or_else(|| format!("topology {topology:?}, expected one of {}", words::TOPOLOGIES.join(", ")))?;
            call(governance, format!("topology {topology}"), nodes, setTopologyCall { newTopology: number }.abi_encode());
        }
        let protect = setProtectedIngressesCall { newIngresses: vec![ACCOUNT_INGRESS, NODE_INGRESS] };
        call(governance, "protecting the ingresses".to_owned(), charter, protect.abi_encode());
        call(governance, "removing the founder".to_owned(), admin, Admins::removeAdminCall { account: founder }.abi_encode());
        call(governance, "sealing the administration".to_owned(), admin, sealAdminsCall {}.abi_encode());
        Ok(Plan { steps, moved: [(account_ingress, ACCOUNT_INGRESS), (node_ingress, NODE_INGRESS)] })
    }
}

impl Decision {
    fn rule(&self) -> Result<Rule, String> {
        let part = |text: &Option<String>, default: (u16, u16)| match text {
            None => Ok(default),
            Some(text) => text
                .split_once('/')
                .and_then(|(numerator, denominator)| Some((numerator.trim().parse().ok()?, denominator.trim().parse().ok()?)))
                .ok_or_else(|| format!("got {text:?}, expected a fraction such as 2/3")),
        };
        let (threshold, quorum) = (part(&self.threshold, (1, 2))?, part(&self.quorum, (0, 1))?);
        Ok(Rule {
            thresholdNumerator: threshold.0,
            thresholdDenominator: threshold.1,
            quorumNumerator: quorum.0,
            quorumDenominator: quorum.1,
            delayBlocks: self.delay_blocks,
            vetoBlocks: self.veto_blocks,
            executionBlocks: self.execution_blocks.unwrap_or(302_400),
            patronConsent: self.patron_consent,
            approvedStands: self.approved_stands,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use ipe_types::genesis::GenesisBuilder;

    const FILE: &str = include_str!("../../../../docs/examples/founding.json");

    fn digest(accounts: &BTreeMap<Address, GenesisAccount>) -> B256 {
        let genesis =
            GenesisBuilder { validators: vec![Address::repeat_byte(1)], alloc: accounts.clone(), ..GenesisBuilder::default() };
        let genesis: serde_json::Value = serde_json::from_str(&genesis.to_json().unwrap()).unwrap();
        keccak256(genesis["alloc"].to_string())
    }

    /// The accounts of the documented example, byte for byte. They change with the contracts; then this digest is that of the new ones.
    #[test]
    fn the_same_file_gives_the_same_accounts_everywhere() {
        let accounts = made(FILE, 1_337, Fork::Berlin).unwrap();
        assert_eq!(accounts.len(), 8, "admin, organizations, accounts, nodes, governance, charter, two ingresses");
        assert!(accounts.contains_key(&ACCOUNT_INGRESS) && accounts.contains_key(&NODE_INGRESS));
        assert!(!accounts.contains_key(&founder()), "the founder has no account");
        let digest = digest(&accounts);
        assert_eq!(digest, self::digest(&made(FILE, 1_337, Fork::Cancun).unwrap()), "no later fork changes what they leave");
        assert_eq!(digest.to_string(), "0x7eddbff7b211436a6fd5fa84b35dd3a2b0b475ca9e21310bcb9c118158c3f599");
    }

    #[test]
    fn faults_of_the_file_are_named() {
        for (from, to, said) in [
            ("\"patron\"", "\"king\"", "expected one of partner, associate, patron"),
            ("\"deployer\"", "\"boss\"", "expected one of global-admin"),
            ("\"2/3\"", "\"two thirds\"", "a fraction such as 2/3"),
            ("\"2/3\"", "\"1/3\"", "is refused by the contracts: InvalidArgument (a threshold is between 1/2 and 1)"),
            ("\"sentry\"", "\"star\"", "expected one of any, mesh, sentry"),
            ("\"organization\": \"Serpro\"", "\"organization\": \"Acme\"", "there is none of this name"),
            ("enode://", "node://", "node \"boot01\""),
            ("\"votes\"", "\"vote\"", "unknown field"),
            ("[\"0x2000000000000000000000000000000000000001\"]", "[]", "has no administrators"),
            ("0x2000000000000000000000000000000000000002", "0x2000000000000000000000000000000000000001", "named twice"),
        ] {
            assert!(FILE.contains(from), "{from}");
            let error = made(&FILE.replacen(from, to, 1), 1_337, Fork::Berlin).unwrap_err();
            assert!(error.contains(said), "{to}: {error}");
        }
        // What the contracts themselves refuse.
        let error = made(&FILE.replace("\"name\": \"TCU\"", "\"name\": \"BNDES\""), 1_337, Fork::Berlin).unwrap_err();
        assert!(error.contains("is refused by the contracts"), "{error}");
    }
}
