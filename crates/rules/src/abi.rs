//! The functions that are called and the answers that are read, with their types.
//!
//! A test holds them against the committed artifacts; the first generation's (`Gen01*`) against their selectors.

use alloy_sol_types::sol;

sol! {
    /// Both ingresses, of every generation.
    contract Ingress {
        function getContractAddress(bytes32 name) external view returns (address);
        function getAllContractKeys() external view returns (bytes32[]);
        function setContractAddress(bytes32 name, address target) external returns (bool);
        function transactionAllowed(address sender, address target, uint256 value, uint256 gasPrice, uint256 gasLimit, bytes payload) external view returns (bool);
        function connectionAllowed(bytes32 sourceEnodeHigh, bytes32 sourceEnodeLow, bytes16 sourceEnodeIp, uint16 sourceEnodePort, bytes32 destinationEnodeHigh, bytes32 destinationEnodeLow, bytes16 destinationEnodeIp, uint16 destinationEnodePort) external view returns (bytes32);
        function isAuthorized(address account) external view returns (bool);
    }

    /// Master administrators, of every generation.
    contract Admins {
        function getAdmins() external view returns (address[]);
        function isAuthorized(address source) external view returns (bool);
        function addAdmin(address account) external returns (bool);
        function removeAdmin(address account) external returns (bool);
        function isSealed() external view returns (bool);
    }

    /// `OrganizationImpl`.
    contract Organizations {
        /// One organisation.
        struct OrganizationData { uint256 id; string cnpj; string name; uint8 orgType; bool canVote; }
        function getOrganizations() external view returns (OrganizationData[]);
        function addOrganization(string cnpj, string name, uint8 orgType, bool canVote) external returns (uint256);
        function updateOrganization(uint256 orgId, string cnpj, string name, uint8 orgType, bool canVote) external;
        function deleteOrganization(uint256 orgId) external;
        function admins() external view returns (address);
    }

    /// What a change of an account or a node left in storage (ours alone).
    struct Record { address actor; uint48 blockNumber; uint8 act; uint128 actorOrgId; uint128 proposalId; string reason; }

    /// `AccountRulesV2Impl`.
    contract Accounts {
        /// One account.
        struct AccountData { uint256 orgId; address account; bytes32 roleId; bytes32 dataHash; bool active; }
        function organizations() external view returns (address);
        function admins() external view returns (address);
        function accounts(address account) external view returns (uint256 orgId, address owner, bytes32 roleId, bytes32 dataHash, bool active);
        function isAccountActive(address account) external view returns (bool);
        function hasRole(bytes32 role, address account) external view returns (bool);
        function getNumberOfAccounts() external view returns (uint256);
        function getAccounts(uint256 pageNumber, uint256 pageSize) external view returns (AccountData[]);
        function getAccountTargetAccess(address account) external view returns (bool restricted, address[] allowedTargets);
        function getNumberOfRestrictedAccounts() external view returns (uint256);
        function getRestrictedAccounts(uint256 pageNumber, uint256 pageSize) external view returns (address[]);
        function getSmartContractSenderAccess(address smartContract) external view returns (bool restricted, address[] allowedSenders);
        function getNumberOfRestrictedSmartContracts() external view returns (uint256);
        function getRestrictedSmartContracts(uint256 pageNumber, uint256 pageSize) external view returns (address[]);
        function globalAdminsCount(uint256 orgId) external view returns (uint256);
        function addLocalAccount(address account, bytes32 roleId, bytes32 dataHash) external;
        function deleteLocalAccount(address account) external;
        function updateLocalAccount(address account, bytes32 roleId, bytes32 dataHash) external;
        function updateLocalAccountStatus(address account, bool active) external;
        function setAccountTargetAccess(address account, bool restricted, address[] allowedTargets) external;
        function addAccount(address account, uint256 orgId, bytes32 roleId, bytes32 dataHash) external;
        function deleteAccount(address account) external;
        function setSmartContractSenderAccess(address smartContract, bool restricted, address[] allowedSenders) external;
        // Ours alone.
        function LIST_MAX() external view returns (uint256);
        function pausedUntil() external view returns (uint256);
        function updateAccountStatus(address account, bool active) external;
        function withReason(string reason, bytes call) external returns (bytes);
        function getNumberOfRecords(bytes32 subject) external view returns (uint256);
        function getRecord(bytes32 subject, uint256 index) external view returns (Record);
    }

    /// `NodeRulesV2Impl`.
    contract Nodes {
        /// One node.
        struct NodeData { bytes32 enodeHigh; bytes32 enodeLow; uint8 nodeType; string name; uint256 orgId; bool active; }
        function organizationsContract() external view returns (address);
        function accountsContract() external view returns (address);
        function admins() external view returns (address);
        function allowedNodes(uint256 key) external view returns (bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, string name, uint256 orgId, bool active);
        function isNodeActive(bytes32 enodeHigh, bytes32 enodeLow) external view returns (bool);
        function getNumberOfNodes() external view returns (uint256);
        function getNodes(uint256 pageNumber, uint256 pageSize) external view returns (NodeData[]);
        function addLocalNode(bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, string name) external;
        function deleteLocalNode(bytes32 enodeHigh, bytes32 enodeLow) external;
        function updateLocalNode(bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, string name) external;
        function updateLocalNodeStatus(bytes32 enodeHigh, bytes32 enodeLow, bool active) external;
        function addNode(bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, string name, uint256 orgId) external;
        function deleteNode(bytes32 enodeHigh, bytes32 enodeLow) external;
        // Ours alone.
        function topology() external view returns (uint8);
        function possessionRequired() external view returns (bool);
        function possessionDigest(bytes32 enodeHigh, bytes32 enodeLow, uint256 orgId) external view returns (bytes32);
        function addProvenNode(bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, string name, bytes signature) external;
        function updateNodeStatus(bytes32 enodeHigh, bytes32 enodeLow, bool active) external;
        function pausedUntil() external view returns (uint256);
        function withReason(string reason, bytes call) external returns (bytes);
        function getNumberOfRecords(bytes32 subject) external view returns (uint256);
        function getRecord(bytes32 subject, uint256 index) external view returns (Record);
    }

    /// `Governance`.
    contract Governance {
        /// One proposal.
        struct ProposalData {
            uint256 id; uint256 proponentOrgId; address[] targets; bytes[] calldatas; uint256 blocksDuration; string description;
            uint256 creationBlock; uint8 status; uint8 result; uint256[] organizations; uint8[] votes; string cancelationReason;
        }
        /// The rule of a proposal (ours alone).
        struct Rule {
            uint16 thresholdNumerator; uint16 thresholdDenominator; uint16 quorumNumerator; uint16 quorumDenominator;
            uint32 delayBlocks; uint32 vetoBlocks; uint32 executionBlocks; bool patronConsent; bool approvedStands;
        }
        /// Who did what with a proposal (ours alone).
        struct Trail {
            address proponent; uint48 approvalBlock; uint8 kind; address executor; uint48 executionBlock; address vetoer;
            uint48 vetoBlock; uint256 vetoOrgId; string vetoReason;
        }
        function organizations() external view returns (address);
        function accounts() external view returns (address);
        function admins() external view returns (address);
        function getNumberOfProposals() external view returns (uint256);
        function getProposal(uint256 proposalId) external view returns (ProposalData);
        function createProposal(address[] targets, bytes[] calldatas, uint256 blocksDuration, string description) external returns (uint256);
        function cancelProposal(uint256 proposalId, string reason) external;
        function castVote(uint256 proposalId, bool approve) external returns (bool);
        function executeProposal(uint256 proposalId) external returns (bytes[]);
        // Ours alone.
        function charter() external view returns (address);
        function stateOf(uint256 proposalId) external view returns (uint8);
        function getTrail(uint256 proposalId) external view returns (Trail);
        function getRule(uint256 proposalId) external view returns (Rule);
        function getVoter(uint256 proposalId, uint256 orgId) external view returns (address);
        function vetoProposal(uint256 proposalId, string reason) external;
    }

    /// `Charter`, ours alone.
    contract Charter {
        function ruleFor(address[] targets, bytes[] calldatas, uint256 blocksDuration) external view returns (uint8 kind, Governance.Rule rule);
        function checkAfter(address[] targets, bytes[] calldatas, address executor, bool governed) external view;
        function setRule(uint8 kind, Governance.Rule rule) external;
    }

    /// `ValidatorSelection`.
    contract Selection {
        function getValidators() external view returns (address[]);
        function getEligibleValidators() external view returns (address[]);
        function getProtectedValidators() external view returns (address[]);
        function operationMode() external view returns (uint8);
        function lastBlockProposedBy(address validator) external view returns (uint256);
        function nextSelectionBlock() external view returns (uint256);
        function blocksWithoutProposeThreshold() external view returns (uint256);
        function addEligibleValidatorByAddress(address validator, bool activate) external;
        function removeEligibleValidatorByAddress(address validator) external;
        function addOperationalValidatorByAddress(address validator) external;
        function removeOperationalValidatorByAddress(address validator) external;
        function addOperationalValidator(bytes32 enodeHigh, bytes32 enodeLow) external;
        function removeOperationalValidatorByAdmin(bytes32 enodeHigh, bytes32 enodeLow) external;
    }

    /// `ValidatorSelectionIngress`.
    contract SelectionIngress {
        function getValidators() external view returns (address[]);
        function validatorSelectionContract() external view returns (address);
        function isSelectionGood() external view returns (bool);
        function getLastGoodValidators() external view returns (address[]);
    }

    /// The first generation's account rules.
    contract Gen01Accounts {
        function accountPermitted(address account) external view returns (bool);
        function getAccounts() external view returns (address[]);
        function getSize() external view returns (uint256);
        function getByIndex(uint256 index) external view returns (address);
        function isReadOnly() external view returns (bool);
        function addAccount(address account) external returns (bool);
        function removeAccount(address account) external returns (bool);
    }

    /// The first generation's node rules.
    contract Gen01Nodes {
        function enodePermitted(bytes32 enodeHigh, bytes32 enodeLow) external view returns (bool);
        function getSize() external view returns (uint256);
        function getByIndex(uint256 index) external view returns (bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, bytes6 geoHash, string name, string organization);
        function isReadOnly() external view returns (bool);
        function addEnode(bytes32 enodeHigh, bytes32 enodeLow, uint8 nodeType, bytes6 geoHash, string name, string organization) external returns (bool);
        function removeEnode(bytes32 enodeHigh, bytes32 enodeLow) external returns (bool);
    }
}
