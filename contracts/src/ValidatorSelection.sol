// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AccountRulesV2, GLOBAL_ADMIN_ROLE, LOCAL_ADMIN_ROLE} from "./AccountRulesV2.sol";
import {AdminProxy} from "./AdminProxy.sol";
import {NodeRulesV2} from "./NodeRulesV2.sol";
import {Sets} from "./Sets.sol";
import {Signatures} from "./Signatures.sol";
import {ValidatorSet} from "./ValidatorSelectionIngress.sol";

/// @title The node rules as far as a selection needs them.
interface SelectionNodes {
    function allowedNodes(uint key)
        external
        view
        returns (bytes32 enodeHigh, bytes32 enodeLow, NodeRulesV2.NodeType nodeType, string memory name, uint orgId, bool active);
    function isNodeActive(bytes32 enodeHigh, bytes32 enodeLow) external view returns (bool);
}

/// @title Which validators are in office.
/// @notice Functions, events and errors of RBB's design of 2026: eligible ones, of which some are operational, of which some
/// are protected until the next selection. Beyond it: the longest silent go first and never more than a faulty third; blocks
/// are credited by their headers, without a transaction in each; who was silent comes back by a signed heartbeat; an
/// organisation may be kept below one third; validators whose node the rules do not allow can be left out.
contract ValidatorSelection is ValidatorSet {
    using Sets for Sets.Set;

    enum OperationMode {
        Manual,
        Automatic
    }

    /// Why an eligible validator is not operational.
    enum Absence {
        None,
        /// By a selection; a heartbeat ends it.
        Silent,
        /// By its organisation, which ends it.
        Owner,
        /// By governance, which ends it.
        Governance
    }

    uint public constant MIN_INITIAL_ELIGIBLE_VALIDATORS = 1;
    uint public constant MIN_OPERATIONAL_VALIDATORS = 4;
    /// Least that governance leaves, where there were as many at the start.
    uint public constant MIN_GOV_OPERATIONAL_VALIDATORS = 4;
    uint public constant ELIGIBLE_MAX = 100;
    /// Gas for a question to the node rules. Rules that keep names of any length let an organisation make its own nodes dear,
    /// and then know nothing about them; the others are asked all the same.
    uint private constant NODE_GAS = 100_000;
    /// Blocks that a validator may miss for each one that it has to propose, at least.
    uint private constant TURNS_MIN = 2;
    bytes32 private constant HEARTBEAT = keccak256("ipe validator heartbeat 1");

    AdminProxy public admins;
    AccountRulesV2 public accountsContract;
    SelectionNodes public nodesContract;
    OperationMode public operationMode;
    uint public blocksBetweenSelection;
    uint public blocksWithoutProposeThreshold;
    uint public nextSelectionBlock;
    uint public cycleStartBlock;
    uint public lastMonitoredBlock;
    mapping(address validator => uint) public lastBlockProposedBy;
    /// @notice Block since which a validator is operational, or is not.
    mapping(address validator => uint) public standingSince;
    mapping(address validator => Absence) public absence;
    /// @notice Key of a validator's node in the node rules; 0 while nobody has given its public key.
    mapping(address validator => uint key) public nodeKeyOf;
    /// @notice Whether a validator counts only while the node rules allow its node as an active one of type Validator.
    bool public nodeRulesRequired;
    /// @notice Whether an organisation has to stay below one third of the operational validators.
    bool public organizationQuota;
    /// @notice Least number of operational validators: 4, or what the network began with.
    uint public immutable minimum;

    Sets.Set private _eligible;
    Sets.Set private _operational;
    Sets.Set private _protected;

    event MonitorExecuted(address indexed executor, uint indexed blockNumber);
    event SelectionExecuted(address[] removed);
    event OperationModeChanged(OperationMode indexed mode);
    event OperationalValidatorAdded(address indexed validator);
    event OperationalValidatorRemoved(address indexed validator);
    event OperationalValidatorManuallyRemoved(address indexed validator);
    event EligibleValidatorAdded(address indexed validator, bool indexed operational);
    event EligibleValidatorRemoved(address indexed validator);
    event SelectionParametersUpdated(uint blocksBetweenSelection, uint blocksWithoutProposeThreshold);
    event AdminContractUpdated(address indexed oldContract, address indexed newContract);
    event AccountsContractUpdated(address indexed oldContract, address indexed newContract);
    event NodesContractUpdated(address indexed oldContract, address indexed newContract);
    event SafetyUpdated(bool nodeRulesRequired, bool organizationQuota);
    event ValidatorReturned(address indexed validator, uint heartbeatBlock);

    error UnauthorizedAccess(address account);
    error InactiveAccount(address account);
    error NotLocalNode(bytes32 enodeHigh, bytes32 enodeLow);
    error InvalidValidatorAddress();
    error AlreadyEligibleNode(address validator);
    error NotEligibleNode(address validator);
    error AlreadyOperationalNode(address validator);
    error NotOperationalNode(address validator);
    error FewOperationalValidators();
    error FewEligibleValidators();
    error SameOperationMode(OperationMode mode);
    error InvalidBlocksBetweenSelection();
    error InvalidBlocksWithoutProposeThreshold();
    error InvalidAdminContract(address account);
    error InvalidAccountsContract(address account);
    error InvalidNodesContract(address account);
    error TooManyValidators(uint most);
    error OrganizationQuotaExceeded(uint orgId);
    error NodeNotAllowed(address validator);
    error HeaderNotOfBlock(uint blockNumber);
    error HeartbeatRefused(address validator);
    error AbsentByDecision(address validator);

    modifier onlyGovernance() {
        if (!admins.isAuthorized(msg.sender)) revert UnauthorizedAccess(msg.sender);
        _;
    }

    constructor(
        AdminProxy adminsProxy,
        AccountRulesV2 accs,
        SelectionNodes nodes,
        address[] memory initial,
        uint blocksBetween,
        uint blocksWithoutPropose,
        uint nextSelection
    ) {
        if (address(adminsProxy).code.length == 0) revert InvalidAdminContract(address(adminsProxy));
        if (address(accs).code.length == 0) revert InvalidAccountsContract(address(accs));
        if (address(nodes).code.length == 0) revert InvalidNodesContract(address(nodes));
        if (initial.length < MIN_INITIAL_ELIGIBLE_VALIDATORS) revert FewEligibleValidators();
        (admins, accountsContract, nodesContract) = (adminsProxy, accs, nodes);
        for (uint i = 0; i < initial.length; ++i) {
            _addEligible(initial[i], true);
            _protected.add(Sets.word(initial[i]));
        }
        minimum = initial.length < MIN_OPERATIONAL_VALIDATORS ? initial.length : MIN_OPERATIONAL_VALIDATORS;
        _setParameters(blocksBetween, blocksWithoutPropose);
        cycleStartBlock = block.number;
        nextSelectionBlock = nextSelection;
    }

    // ---- what nodes and people ask ----

    /// @inheritdoc ValidatorSet
    /// @dev The operational ones; without those that the node rules do not allow, where that is asked for and enough are left.
    function getValidators() external view returns (address[] memory) {
        address[] memory all = _list(_operational);
        if (!nodeRulesRequired) return all;
        uint count;
        address[] memory allowed = new address[](all.length);
        for (uint i = 0; i < all.length; ++i) {
            if (_isAllowed(all[i])) allowed[count++] = all[i];
        }
        if (count < minimum) return all;
        assembly ("memory-safe") {
            mstore(allowed, count)
        }
        return allowed;
    }

    function getEligibleValidators() external view returns (address[] memory) {
        return _list(_eligible);
    }

    function getProtectedValidators() external view returns (address[] memory) {
        return _list(_protected);
    }

    function isEligible(address validator) public view returns (bool) {
        return _eligible.contains(Sets.word(validator));
    }

    function isOperational(address validator) public view returns (bool) {
        return _operational.contains(Sets.word(validator));
    }

    function isProtected(address validator) public view returns (bool) {
        return _protected.contains(Sets.word(validator));
    }

    /// @notice Blocks for which a validator has been silent in this cycle.
    function silenceOf(address validator) public view returns (uint) {
        uint since = _max(_max(lastBlockProposedBy[validator], standingSince[validator]), cycleStartBlock);
        return block.number - since;
    }

    /// @notice What a validator's key signs to come back: EIP-191 data for this contract, bound to chain and block.
    function heartbeatDigest(address validator, uint blockNumber) public view returns (bytes32) {
        bytes32 content = keccak256(abi.encode(HEARTBEAT, block.chainid, validator, blockNumber));
        return keccak256(abi.encodePacked(hex"1900", address(this), content));
    }

    // ---- anybody ----

    /// @notice Credits the proposer of the present block and selects when it is time. Once a block; more often does nothing.
    function executeMonitoring() external {
        if (operationMode == OperationMode.Manual || lastMonitoredBlock == block.number) return;
        lastMonitoredBlock = block.number;
        _credit(block.coinbase, block.number);
        emit MonitorExecuted(msg.sender, block.number);
        if (block.number >= nextSelectionBlock) _select();
    }

    /// @notice Credits the proposers of past blocks, by the headers whose hashes the chain knows: of the last 256 blocks. So a
    /// block needs no transaction of its proposer to be counted.
    /// @param blockNumbers Their heights.
    /// @param headers RLP of each, as hashed for the chain (in QBFT without round and seals).
    function creditHeaders(uint[] calldata blockNumbers, bytes[] calldata headers) external {
        for (uint i = 0; i < blockNumbers.length; ++i) {
            bytes calldata header = headers[i];
            bytes32 known = blockhash(blockNumbers[i]);
            // A list with a length of two bytes, two hashes, and the beneficiary.
            if (known == 0 || keccak256(header) != known || header.length < 90 || header[0] != 0xf9 || header[69] != 0x94) {
                revert HeaderNotOfBlock(blockNumbers[i]);
            }
            _credit(address(bytes20(header[70:90])), blockNumbers[i]);
        }
    }

    /// @notice Brings back a validator that a selection removed, with a signature by its key of a block of the last 256.
    function heartbeat(address validator, uint blockNumber, bytes calldata signature) external {
        if (
            absence[validator] != Absence.Silent || !isEligible(validator) || blockNumber >= block.number
                || block.number - blockNumber > 256 || blockNumber <= standingSince[validator]
                || Signatures.signer(heartbeatDigest(validator, blockNumber), signature) != validator
        ) revert HeartbeatRefused(validator);
        _activate(validator);
        emit ValidatorReturned(validator, blockNumber);
    }

    /// @notice Tells the public key of a validator, which leads to its entry in the node rules.
    function linkNode(bytes32 enodeHigh, bytes32 enodeLow) external {
        _link(enodeHigh, enodeLow);
    }

    // ---- governance ----

    function setOperationMode(OperationMode mode) external onlyGovernance {
        if (mode == operationMode) revert SameOperationMode(mode);
        operationMode = mode;
        if (mode == OperationMode.Automatic) {
            _protectAll();
            lastMonitoredBlock = 0;
        }
        emit OperationModeChanged(mode);
    }

    /// @param blocksBetween More than `blocksWithoutPropose`: else nobody would ever have been silent for long enough.
    /// @param blocksWithoutPropose At least two turns of every eligible validator.
    function setSelectionParameters(uint blocksBetween, uint blocksWithoutPropose) external onlyGovernance {
        _setParameters(blocksBetween, blocksWithoutPropose);
        _protectAll();
    }

    /// @notice Turns the safety rules on or off.
    function setSafety(bool rulesRequired, bool quota) external onlyGovernance {
        (nodeRulesRequired, organizationQuota) = (rulesRequired, quota);
        emit SafetyUpdated(rulesRequired, quota);
    }

    function addEligibleValidator(bytes32 enodeHigh, bytes32 enodeLow, bool activate) external onlyGovernance {
        _addEligible(_link(enodeHigh, enodeLow), activate);
    }

    function addEligibleValidatorByAddress(address validator, bool activate) external onlyGovernance {
        _addEligible(validator, activate);
    }

    function removeEligibleValidator(bytes32 enodeHigh, bytes32 enodeLow) external onlyGovernance {
        _removeEligible(_addressOf(enodeHigh, enodeLow));
    }

    function removeEligibleValidatorByAddress(address validator) external onlyGovernance {
        _removeEligible(validator);
    }

    function addOperationalValidatorByAddress(address validator) external onlyGovernance {
        _addOperational(validator);
    }

    function removeOperationalValidator(bytes32 enodeHigh, bytes32 enodeLow) external onlyGovernance {
        _removeManually(_addressOf(enodeHigh, enodeLow), Absence.Governance);
    }

    function removeOperationalValidatorByAddress(address validator) external onlyGovernance {
        _removeManually(validator, Absence.Governance);
    }

    function updateAdminContract(address admin) external onlyGovernance {
        if (admin.code.length == 0 || admin == address(admins) || !AdminProxy(admin).isAuthorized(msg.sender)) {
            revert InvalidAdminContract(admin);
        }
        emit AdminContractUpdated(address(admins), admin);
        admins = AdminProxy(admin);
    }

    function updateAccountsContract(address accounts) external onlyGovernance {
        if (accounts.code.length == 0 || accounts == address(accountsContract)) revert InvalidAccountsContract(accounts);
        AccountRulesV2(accounts).isAccountActive(address(0));
        emit AccountsContractUpdated(address(accountsContract), accounts);
        accountsContract = AccountRulesV2(accounts);
    }

    function updateNodesContract(address nodes) external onlyGovernance {
        if (nodes.code.length == 0 || nodes == address(nodesContract)) revert InvalidNodesContract(nodes);
        SelectionNodes(nodes).allowedNodes(0);
        emit NodesContractUpdated(address(nodesContract), nodes);
        nodesContract = SelectionNodes(nodes);
    }

    // ---- governance, or the validator's organisation ----

    /// @notice Brings an eligible validator into office. Its organisation cannot undo what governance decided.
    function addOperationalValidator(bytes32 enodeHigh, bytes32 enodeLow) external {
        address validator = _link(enodeHigh, enodeLow);
        if (!admins.isAuthorized(msg.sender)) {
            _checkOwner(enodeHigh, enodeLow);
            if (absence[validator] == Absence.Governance) revert AbsentByDecision(validator);
        }
        _addOperational(validator);
    }

    /// @notice The validator's organisation takes it out of office.
    function removeOperationalValidatorByAdmin(bytes32 enodeHigh, bytes32 enodeLow) external {
        _checkOwner(enodeHigh, enodeLow);
        _removeManually(_link(enodeHigh, enodeLow), Absence.Owner);
    }

    // ---- how ----

    function _checkOwner(bytes32 enodeHigh, bytes32 enodeLow) private view {
        AccountRulesV2 accounts = accountsContract;
        if (!accounts.hasRole(GLOBAL_ADMIN_ROLE, msg.sender) && !accounts.hasRole(LOCAL_ADMIN_ROLE, msg.sender)) {
            revert UnauthorizedAccess(msg.sender);
        }
        if (!accounts.isAccountActive(msg.sender)) revert InactiveAccount(msg.sender);
        (uint orgId,,) = _node(_keyOf(enodeHigh, enodeLow));
        if (orgId == 0 || orgId != accounts.getAccount(msg.sender).orgId) revert NotLocalNode(enodeHigh, enodeLow);
    }

    function _addEligible(address validator, bool activate) private {
        if (validator == address(0)) revert InvalidValidatorAddress();
        if (_eligible.length() >= ELIGIBLE_MAX) revert TooManyValidators(ELIGIBLE_MAX);
        if (!_eligible.add(Sets.word(validator))) revert AlreadyEligibleNode(validator);
        uint least = TURNS_MIN * _eligible.length();
        if (blocksWithoutProposeThreshold != 0 && blocksWithoutProposeThreshold < least) {
            blocksWithoutProposeThreshold = least;
            if (blocksBetweenSelection <= least) blocksBetweenSelection = least + 1;
            emit SelectionParametersUpdated(blocksBetweenSelection, least);
        }
        emit EligibleValidatorAdded(validator, activate);
        if (activate) _activate(validator);
    }

    function _removeEligible(address validator) private {
        if (!isEligible(validator)) revert NotEligibleNode(validator);
        if (isOperational(validator)) _removeManually(validator, Absence.Governance);
        _eligible.remove(Sets.word(validator));
        delete absence[validator];
        emit EligibleValidatorRemoved(validator);
    }

    function _addOperational(address validator) private {
        if (!isEligible(validator)) revert NotEligibleNode(validator);
        if (isOperational(validator)) revert AlreadyOperationalNode(validator);
        _activate(validator);
        _protected.add(Sets.word(validator));
    }

    function _activate(address validator) private {
        if (nodeRulesRequired && !_isAllowed(validator)) revert NodeNotAllowed(validator);
        if (organizationQuota) _checkQuota(validator);
        _operational.add(Sets.word(validator));
        standingSince[validator] = block.number;
        delete absence[validator];
        emit OperationalValidatorAdded(validator);
    }

    function _removeManually(address validator, Absence why) private {
        if (!isOperational(validator)) revert NotOperationalNode(validator);
        if (_operational.length() <= minimum) revert FewOperationalValidators();
        _takeOut(validator, why);
        emit OperationalValidatorManuallyRemoved(validator);
    }

    function _takeOut(address validator, Absence why) private {
        _operational.remove(Sets.word(validator));
        _protected.remove(Sets.word(validator));
        absence[validator] = why;
        standingSince[validator] = block.number;
    }

    function _credit(address proposer, uint blockNumber) private {
        if (isEligible(proposer) && blockNumber > lastBlockProposedBy[proposer]) lastBlockProposedBy[proposer] = blockNumber;
    }

    /// Takes the longest silent out, one by one: at most as many as may fail at once, and never below the minimum.
    function _select() private {
        uint most = (_operational.length() - 1) / 3;
        uint spare = _operational.length() - minimum;
        if (most > spare) most = spare;
        address[] memory removed = new address[](most);
        uint count;
        while (count < most) {
            address longest = _longestSilent();
            if (longest == address(0)) break;
            _takeOut(longest, Absence.Silent);
            removed[count++] = longest;
            emit OperationalValidatorRemoved(longest);
        }
        assembly ("memory-safe") {
            mstore(removed, count)
        }
        while (_protected.length() > 0) {
            _protected.remove(_protected.values[_protected.length() - 1]);
        }
        _beginCycle();
        emit SelectionExecuted(removed);
    }

    /// The operational validator that has been silent for longest and for too long, the one with the lower address first;
    /// zero if there is none.
    function _longestSilent() private view returns (address longest) {
        uint most = blocksWithoutProposeThreshold;
        for (uint i = 0; i < _operational.length(); ++i) {
            address validator = Sets.unword(_operational.values[i]);
            if (isProtected(validator)) continue;
            uint silence = silenceOf(validator);
            if (silence > most || (silence == most && longest != address(0) && validator < longest)) {
                (longest, most) = (validator, silence);
            }
        }
    }

    function _protectAll() private {
        for (uint i = 0; i < _operational.length(); ++i) {
            _protected.add(_operational.values[i]);
        }
        _beginCycle();
    }

    function _beginCycle() private {
        cycleStartBlock = block.number;
        nextSelectionBlock = block.number + blocksBetweenSelection;
    }

    function _setParameters(uint blocksBetween, uint blocksWithoutPropose) private {
        if (blocksWithoutPropose < TURNS_MIN * _eligible.length()) revert InvalidBlocksWithoutProposeThreshold();
        if (blocksBetween <= blocksWithoutPropose) revert InvalidBlocksBetweenSelection();
        (blocksBetweenSelection, blocksWithoutProposeThreshold) = (blocksBetween, blocksWithoutPropose);
        emit SelectionParametersUpdated(blocksBetween, blocksWithoutPropose);
    }

    /// An organisation with one validator more stays below a third of all with that one more.
    function _checkQuota(address validator) private view {
        (uint orgId,,) = _node(nodeKeyOf[validator]);
        if (orgId == 0) revert NodeNotAllowed(validator);
        uint own = 1;
        for (uint i = 0; i < _operational.length(); ++i) {
            (uint other,,) = _node(nodeKeyOf[Sets.unword(_operational.values[i])]);
            if (other == orgId) ++own;
        }
        if (own > 1 && own * 3 >= _operational.length() + 1) revert OrganizationQuotaExceeded(orgId);
    }

    /// Whether the node rules have an active node of type Validator of an existing organisation for it.
    function _isAllowed(address validator) private view returns (bool) {
        uint key = nodeKeyOf[validator];
        (uint orgId, NodeRulesV2.NodeType nodeType, bool active) = _node(key);
        return orgId != 0 && nodeType == NodeRulesV2.NodeType.Validator && active;
    }

    /// Organisation, type and whether it is active; zeros for what the rules do not know. Rules that do not answer know nothing.
    function _node(uint key) private view returns (uint orgId, NodeRulesV2.NodeType nodeType, bool active) {
        if (key == 0) return (0, NodeRulesV2.NodeType.Other, false);
        try nodesContract.allowedNodes{gas: NODE_GAS}(key) returns (
            bytes32 enodeHigh, bytes32 enodeLow, NodeRulesV2.NodeType kind, string memory, uint org, bool
        ) {
            try nodesContract.isNodeActive{gas: NODE_GAS}(enodeHigh, enodeLow) returns (bool isActive) {
                return (org, kind, isActive);
            } catch {
                return (0, NodeRulesV2.NodeType.Other, false);
            }
        } catch {
            return (0, NodeRulesV2.NodeType.Other, false);
        }
    }

    function _link(bytes32 enodeHigh, bytes32 enodeLow) private returns (address validator) {
        uint key = _keyOf(enodeHigh, enodeLow);
        validator = address(uint160(key));
        nodeKeyOf[validator] = key;
    }

    function _addressOf(bytes32 enodeHigh, bytes32 enodeLow) private pure returns (address) {
        return address(uint160(_keyOf(enodeHigh, enodeLow)));
    }

    function _keyOf(bytes32 enodeHigh, bytes32 enodeLow) private pure returns (uint) {
        return uint(keccak256(abi.encodePacked(enodeHigh, enodeLow)));
    }

    function _list(Sets.Set storage set) private view returns (address[] memory list) {
        list = new address[](set.length());
        for (uint i = 0; i < list.length; ++i) {
            list[i] = Sets.unword(set.values[i]);
        }
    }

    function _max(uint a, uint b) private pure returns (uint) {
        return a > b ? a : b;
    }
}
