//! The functions of the contracts that tests call.

use alloy_sol_types::sol;

sol! {
    contract AdminAbi {
        function addAdmin(address account) external returns (bool);
        function addAdmins(address[] accounts) external returns (bool);
        function removeAdmin(address account) external returns (bool);
        function isAuthorized(address source) external view returns (bool);
        function getAdmins() external view returns (address[]);
        function sealAdmins() external;
    }

    contract Org {
        struct OrganizationData { uint256 id; string cnpj; string name; uint8 orgType; bool canVote; }
        constructor(OrganizationData[] orgs, address admins);
        function addOrganization(string cnpj, string name, uint8 orgType, bool canVote) external returns (uint256);
        function updateOrganization(uint256 orgId, string cnpj, string name, uint8 orgType, bool canVote) external;
        function deleteOrganization(uint256 orgId) external;
        function isOrganizationActive(uint256 orgId) external view returns (bool);
        function getOrganizations() external view returns (OrganizationData[]);
        function numberOfVoters() external view returns (uint256);
        function idSeed() external view returns (uint256);
    }

    contract Acc {
        struct AccountData { uint256 orgId; address account; bytes32 roleId; bytes32 dataHash; bool active; }
        struct Record { address actor; uint48 blockNumber; uint8 act; uint128 actorOrgId; uint128 proposalId; string reason; }
        constructor(address orgs, address[] accs, address admins);
        function addLocalAccount(address account, bytes32 roleId, bytes32 dataHash) external;
        function deleteLocalAccount(address account) external;
        function updateLocalAccount(address account, bytes32 roleId, bytes32 dataHash) external;
        function updateLocalAccountStatus(address account, bool active) external;
        function setAccountTargetAccess(address account, bool restricted, address[] allowedTargets) external;
        function addAccount(address account, uint256 orgId, bytes32 roleId, bytes32 dataHash) external;
        function deleteAccount(address account) external;
        function updateAccountStatus(address account, bool active) external;
        function setSmartContractSenderAccess(address smartContract, bool restricted, address[] allowedSenders) external;
        function renounceRole(bytes32 role, address callerConfirmation) external;
        function hasRole(bytes32 role, address account) external view returns (bool);
        function isAccountActive(address account) external view returns (bool);
        function getAccount(address account) external view returns (AccountData);
        function getNumberOfAccounts() external view returns (uint256);
        function getNumberOfAccountsByOrg(uint256 orgId) external view returns (uint256);
        function getAccounts(uint256 page, uint256 size) external view returns (AccountData[]);
        function globalAdminsCount(uint256 orgId) external view returns (uint256);
        function activeGlobalAdmins(uint256 orgId) external view returns (uint256);
        function transactionAllowed(address sender, address target, uint256 value, uint256 gasPrice, uint256 gasLimit, bytes payload) external view returns (bool);
        function suspendSelf() external;
        function setNeverRestricted(address smartContract, bool never) external;
        function setAccountQuota(uint256 orgId, uint256 most) external;
        function registrationDigest(address account, uint256 orgId, bytes32 recordHash) external view returns (bytes32);
        function acknowledgementDigest(address account) external view returns (bytes32);
        function acknowledge() external;
        function acknowledgeFor(address account, bytes signature) external;
        function isAcknowledged(address account) external view returns (bool);
        function pauseLocalChanges(uint256 blocks) external;
        function withReason(string reason, bytes call) external returns (bytes);
        function getNumberOfRecords(bytes32 subject) external view returns (uint256);
        function getRecord(bytes32 subject, uint256 index) external view returns (Record);
    }

    contract Node {
        constructor(address orgs, address accs, address admins);
        function addLocalNode(bytes32 high, bytes32 low, uint8 nodeType, string name) external;
        function addProvenNode(bytes32 high, bytes32 low, uint8 nodeType, string name, bytes signature) external;
        function deleteLocalNode(bytes32 high, bytes32 low) external;
        function updateLocalNode(bytes32 high, bytes32 low, uint8 nodeType, string name) external;
        function updateLocalNodeStatus(bytes32 high, bytes32 low, bool active) external;
        function addNode(bytes32 high, bytes32 low, uint8 nodeType, string name, uint256 orgId) external;
        function deleteNode(bytes32 high, bytes32 low) external;
        function updateNodeStatus(bytes32 high, bytes32 low, bool active) external;
        function setTopology(uint8 topology) external;
        function setPossessionRequired(bool required) external;
        function setNodeQuota(uint256 orgId, uint256 most) external;
        function possessionDigest(bytes32 high, bytes32 low, uint256 orgId) external view returns (bytes32);
        function isNodeActive(bytes32 high, bytes32 low) external view returns (bool);
        function getNumberOfNodes() external view returns (uint256);
        function activeBoots(uint256 orgId) external view returns (uint256);
        function connectionAllowed(bytes32 sourceEnodeHigh, bytes32 sourceEnodeLow, bytes16 sourceEnodeIp, uint16 sourceEnodePort, bytes32 destinationEnodeHigh, bytes32 destinationEnodeLow, bytes16 destinationEnodeIp, uint16 destinationEnodePort) external view returns (bytes32);
    }

    contract Gov {
        struct Rule {
            uint16 thresholdNumerator; uint16 thresholdDenominator; uint16 quorumNumerator; uint16 quorumDenominator;
            uint32 delayBlocks; uint32 vetoBlocks; uint32 executionBlocks; bool patronConsent; bool approvedStands;
        }
        struct Trail {
            address proponent; uint48 approvalBlock; uint8 kind; address executor; uint48 executionBlock; address vetoer;
            uint48 vetoBlock; uint256 vetoOrgId; string vetoReason;
        }
        struct ProposalData {
            uint256 id; uint256 proponentOrgId; address[] targets; bytes[] calldatas; uint256 blocksDuration; string description;
            uint256 creationBlock; uint8 status; uint8 result; uint256[] organizations; uint8[] votes; string cancelationReason;
        }
        constructor(address orgs, address accs, address admins);
        function createProposal(address[] targets, bytes[] calldatas, uint256 blocksDuration, string description) external returns (uint256);
        function cancelProposal(uint256 proposalId, string reason) external;
        function castVote(uint256 proposalId, bool approve) external returns (bool);
        function settleProposal(uint256 proposalId) external;
        function vetoProposal(uint256 proposalId, string reason) external;
        function executeProposal(uint256 proposalId) external returns (bytes[]);
        function getProposal(uint256 proposalId) external view returns (ProposalData);
        function getTrail(uint256 proposalId) external view returns (Trail);
        function getVoter(uint256 proposalId, uint256 orgId) external view returns (address);
        function stateOf(uint256 proposalId) external view returns (uint8);
        function charter() external view returns (address);
        function idSeed() external view returns (uint256);
    }

    contract CharterAbi {
        function setRule(uint8 kind, Gov.Rule rule) external;
        function setDurationBounds(uint256 least, uint256 most) external;
        function setKind(address target, bytes4 selector, uint8 kind) external;
        function setProtectedIngresses(address[] ingresses) external;
        function kindOf(address[] targets, bytes[] calldatas) external view returns (uint8);
    }

    contract IngressAbi {
        constructor(address administration);
        function setContractAddress(bytes32 name, address target) external returns (bool);
        function removeContract(bytes32 name) external returns (bool);
        function getContractAddress(bytes32 name) external view returns (address);
        function isAuthorized(address account) external view returns (bool);
    }

    contract Sel {
        constructor(address admins, address accs, address nodes, address[] initial, uint256 between, uint256 without, uint256 next);
        function getValidators() external view returns (address[]);
        function getEligibleValidators() external view returns (address[]);
        function isOperational(address validator) external view returns (bool);
        function absence(address validator) external view returns (uint8);
        function blocksWithoutProposeThreshold() external view returns (uint256);
        function blocksBetweenSelection() external view returns (uint256);
        function lastBlockProposedBy(address validator) external view returns (uint256);
        function executeMonitoring() external;
        function creditHeaders(uint256[] blockNumbers, bytes[] headers) external;
        function heartbeatDigest(address validator, uint256 blockNumber) external view returns (bytes32);
        function heartbeat(address validator, uint256 blockNumber, bytes signature) external;
        function setOperationMode(uint8 mode) external;
        function setSelectionParameters(uint256 between, uint256 without) external;
        function setSafety(bool rulesRequired, bool quota) external;
        function linkNode(bytes32 high, bytes32 low) external;
        function addEligibleValidator(bytes32 high, bytes32 low, bool activate) external;
        function addEligibleValidatorByAddress(address validator, bool activate) external;
        function addOperationalValidator(bytes32 high, bytes32 low) external;
        function removeOperationalValidatorByAddress(address validator) external;
        function removeOperationalValidatorByAdmin(bytes32 high, bytes32 low) external;
        function removeEligibleValidatorByAddress(address validator) external;
    }

    contract SelIngress {
        constructor(address admin, address selection);
        function getValidators() external view returns (address[]);
        function getLastGoodValidators() external view returns (address[]);
        function isSelectionGood() external view returns (bool);
        function keepValidators() external;
        function updateValidatorSelectionContract(address selection) external;
        function removeValidatorSelectionContract() external;
        function updateAdminContract(address admin) external;
        function removeAdminContract() external;
    }

    contract Answer {
        function setAnswer(bytes answer, bool reverts) external;
    }

    contract Forwarder {
        function forward(address target, bytes data) external returns (bytes);
    }

    contract Mock {
        function setCode(uint256 code) external;
        function code() external view returns (uint256);
        function revertTransaction() external;
    }
}
