//! The committed artifacts of our contracts (`contracts/artifacts`): interface and code.

use alloy_json_abi::JsonAbi;
use alloy_primitives::Bytes;

/// A contract of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contract {
    /// Master administrators.
    Admin,
    /// What nodes ask about transactions.
    AccountIngress,
    /// What nodes ask about connections.
    NodeIngress,
    /// Organisations.
    Organizations,
    /// Accounts and restrictions.
    Accounts,
    /// Nodes.
    Nodes,
    /// Proposals and votes.
    Governance,
    /// Governance's parameters.
    Charter,
    /// Who validates.
    Selection,
    /// Where nodes ask who validates.
    SelectionIngress,
    /// The first generation's account rules.
    Gen01Accounts,
    /// The first generation's node rules.
    Gen01Nodes,
    /// The language's own errors.
    Language,
}

impl Contract {
    /// Those of which an artifact is committed.
    pub const OURS: [Contract; 10] = [
        Contract::Admin,
        Contract::AccountIngress,
        Contract::NodeIngress,
        Contract::Organizations,
        Contract::Accounts,
        Contract::Nodes,
        Contract::Governance,
        Contract::Charter,
        Contract::Selection,
        Contract::SelectionIngress,
    ];

    /// Short name for operators, also what `--call NAME.function(...)` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Contract::Admin => "admin",
            Contract::AccountIngress => "account-ingress",
            Contract::NodeIngress => "node-ingress",
            Contract::Organizations => "organizations",
            Contract::Accounts | Contract::Gen01Accounts => "accounts",
            Contract::Nodes | Contract::Gen01Nodes => "nodes",
            Contract::Governance => "governance",
            Contract::Charter => "charter",
            Contract::Selection => "validators",
            Contract::SelectionIngress => "validators-ingress",
            Contract::Language => "language",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Contract::Admin => include_str!("../../../contracts/artifacts/Admin.json"),
            Contract::AccountIngress => include_str!("../../../contracts/artifacts/AccountIngress.json"),
            Contract::NodeIngress => include_str!("../../../contracts/artifacts/NodeIngress.json"),
            Contract::Organizations => include_str!("../../../contracts/artifacts/OrganizationImpl.json"),
            Contract::Accounts => include_str!("../../../contracts/artifacts/AccountRulesV2Impl.json"),
            Contract::Nodes => include_str!("../../../contracts/artifacts/NodeRulesV2Impl.json"),
            Contract::Governance => include_str!("../../../contracts/artifacts/Governance.json"),
            Contract::Charter => include_str!("../../../contracts/artifacts/Charter.json"),
            Contract::Selection => include_str!("../../../contracts/artifacts/ValidatorSelection.json"),
            Contract::SelectionIngress => include_str!("../../../contracts/artifacts/ValidatorSelectionIngress.json"),
            Contract::Gen01Accounts | Contract::Gen01Nodes | Contract::Language => "",
        }
    }
}

/// Functions, events and errors of a contract; the first generation's from a table of its own.
///
/// # Panics
/// When a committed artifact is not what the compiler writes; a test reads them all.
#[allow(clippy::expect_used)]
pub fn interface(contract: Contract) -> JsonAbi {
    match contract {
        Contract::Gen01Accounts => JsonAbi::parse(GEN01_ACCOUNTS).expect("the table is in form"),
        Contract::Gen01Nodes => JsonAbi::parse(GEN01_NODES).expect("the table is in form"),
        Contract::Language => JsonAbi::parse(LANGUAGE).expect("the table is in form"),
        _ => {
            let mut artifact = read(contract);
            serde_json::from_value(artifact["abi"].take()).expect("an artifact has an interface")
        }
    }
}

/// Code that creates a contract, without the constructor's arguments. Empty for those that are not ours.
///
/// # Panics
/// As [`interface`].
#[allow(clippy::expect_used)]
pub fn creation_code(contract: Contract) -> Bytes {
    if contract.text().is_empty() {
        return Bytes::new();
    }
    read(contract)["bytecode"].as_str().and_then(|code| code.parse().ok()).expect("an artifact has code")
}

#[allow(clippy::expect_used)]
fn read(contract: Contract) -> serde_json::Value {
    serde_json::from_str(contract.text()).expect("an artifact is JSON")
}

/// RBB's first generation, `AccountRules`.
const GEN01_ACCOUNTS: [&str; 12] = [
    "function addAccount(address account) returns (bool)",
    "function removeAccount(address account) returns (bool)",
    "function addAccounts(address[] accounts) returns (bool)",
    "function accountPermitted(address account) view returns (bool)",
    "function getAccounts() view returns (address[])",
    "function getByIndex(uint256 index) view returns (address)",
    "function getSize() view returns (uint256)",
    "function enterReadOnly() returns (bool)",
    "function exitReadOnly() returns (bool)",
    "function isReadOnly() view returns (bool)",
    "event AccountAdded(bool accountAdded, address indexed account, address indexed grantor, uint256 indexed timestamp)",
    "event AccountRemoved(bool accountRemoved, address indexed account, address indexed grantor, uint256 indexed timestamp)",
];

/// RBB's first generation, `NodeRules`.
const GEN01_NODES: [&str; 13] = [
    "function addEnode(bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, bytes6 geoHash, string name, string organization) returns (bool)",
    "function removeEnode(bytes32 enodeHigh, bytes32 enodeLow) returns (bool)",
    "function addNodeDuringDeploy(bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, bytes6 geoHash, string name, string organization) returns (bool)",
    "function finishDeploy() returns (bool)",
    "function triggerRulesChangeEvent(bool addsRestrictions)",
    "function enodePermitted(bytes32 enodeHigh, bytes32 enodeLow) view returns (bool)",
    "function getByIndex(uint256 index) view returns (bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, bytes6 geoHash, string name, string organization)",
    "function getSize() view returns (uint256)",
    "function enterReadOnly() returns (bool)",
    "function exitReadOnly() returns (bool)",
    "function isReadOnly() view returns (bool)",
    "event NodeAdded(bool nodeAdded, bytes32 enodeHigh, bytes32 enodeLow)",
    "event NodeRemoved(bool nodeRemoved, bytes32 enodeHigh, bytes32 enodeLow)",
];

/// Errors that no contract declares: Solidity's, and those of OpenZeppelin in the second generation.
const LANGUAGE: [&str; 4] = [
    "error Error(string message)",
    "error Panic(uint256 code)",
    "error InsufficientBalance(uint256 balance, uint256 needed)",
    "error InvalidPaginationParameter()",
];
