// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AccountRulesV2, GLOBAL_ADMIN_ROLE, LOCAL_ADMIN_ROLE} from "./AccountRulesV2.sol";
import {AdminProxy} from "./AdminProxy.sol";
import {Governable} from "./Governable.sol";
import {CONNECTION_ALLOWED, CONNECTION_DENIED, NodeRulesV2} from "./NodeRulesV2.sol";
import {Organization} from "./Organization.sol";
import {Pagination} from "./Pagination.sol";
import {Pausable} from "./Pausable.sol";
import {Recorded} from "./Recorded.sol";
import {Sets} from "./Sets.sol";
import {Signatures} from "./Signatures.sol";

/// @title Nodes of organisations, and which of them may be connected.
/// @notice Beyond the second generation: a partner runs no validator and no boot; who holds a node's key can prove it and so
/// take the node over; governance may demand the proof, limit the number of nodes and put a topology in force; every change
/// is recorded with its author and reason.
contract NodeRulesV2Impl is NodeRulesV2, Pausable, Recorded {
    using Sets for Sets.Set;

    /// Which pairs of active nodes may be connected.
    enum Topology {
        /// All, as in the second generation.
        Any,
        /// Validators with each other; everybody with the boots as in `Sentry`.
        Mesh,
        /// Validators only with boots of their own organisation.
        Sentry
    }

    /// Longest name of a node, in bytes: whoever reads a node pays for its name.
    uint public constant NAME_MAX = 128;
    bytes32 private constant POSSESSION = keccak256("ipe node possession 1");

    AccountRulesV2 public immutable accountsContract;
    Organization public immutable organizationsContract;
    /// @notice Nodes by the hash of their public key, whose lower 20 bytes are the node's address.
    mapping(uint key => NodeData) public allowedNodes;
    Sets.Set private _keys;
    mapping(uint orgId => Sets.Set) private _keysOf;
    /// @notice Active boots of an organisation.
    mapping(uint orgId => uint count) public activeBoots;
    /// @notice How many proofs of a key have been used.
    mapping(uint key => uint count) public possessionNonce;
    /// @notice Topology in force.
    Topology public topology;
    /// @notice Whether administrators add nodes only with a proof of possession.
    bool public possessionRequired;
    /// @notice Most nodes of an organisation, for organisation 0 of any that has no figure of its own; 0 is no limit.
    mapping(uint orgId => uint most) public nodeQuota;

    event NodePossessionProved(bytes32 indexed enodeHigh, bytes32 indexed enodeLow, uint indexed orgId);
    event TopologyUpdated(Topology topology);
    event PossessionRequiredUpdated(bool required);
    event NodeQuotaUpdated(uint indexed orgId, uint most);

    error QuotaExceeded(uint orgId, uint most);
    error PossessionNotProved(bytes32 enodeHigh, bytes32 enodeLow);

    /// @param orgs Organisations, not zero.
    /// @param accs Accounts, not zero.
    /// @param adminProxy Contract that says who is governance.
    constructor(Organization orgs, AccountRulesV2 accs, AdminProxy adminProxy) Governable(adminProxy) {
        if (address(orgs) == address(0)) revert InvalidArgument("the Organization contract's address is zero");
        if (address(accs) == address(0)) revert InvalidArgument("the account rules' address is zero");
        organizationsContract = orgs;
        accountsContract = accs;
    }

    // ---- administrators of organisations ----

    /// @inheritdoc NodeRulesV2
    function addLocalNode(bytes32 enodeHigh, bytes32 enodeLow, NodeType nodeType, string calldata name) external {
        uint orgId = _checkAdmin();
        if (possessionRequired) revert PossessionNotProved(enodeHigh, enodeLow);
        _add(enodeHigh, enodeLow, nodeType, name, orgId, orgId);
    }

    /// @notice As `addLocalNode`, with a signature by the node's key over `possessionDigest`. A node that another
    /// organisation has registered moves to the caller's.
    function addProvenNode(
        bytes32 enodeHigh,
        bytes32 enodeLow,
        NodeType nodeType,
        string calldata name,
        bytes calldata signature
    ) external {
        uint orgId = _checkAdmin();
        uint key = _key(enodeHigh, enodeLow);
        address signer = Signatures.signer(possessionDigest(enodeHigh, enodeLow, orgId), signature);
        if (signer == address(0) || signer != address(uint160(key))) revert PossessionNotProved(enodeHigh, enodeLow);
        ++possessionNonce[key];
        NodeData storage node = allowedNodes[key];
        if (node.orgId != 0 && node.orgId != orgId) _delete(node, key, orgId);
        _add(enodeHigh, enodeLow, nodeType, name, orgId, orgId);
        emit NodePossessionProved(enodeHigh, enodeLow, orgId);
    }

    /// @inheritdoc NodeRulesV2
    function deleteLocalNode(bytes32 enodeHigh, bytes32 enodeLow) external {
        (NodeData storage node, uint key) = _checkLocal(enodeHigh, enodeLow, _checkAdmin());
        _delete(node, key, node.orgId);
    }

    /// @inheritdoc NodeRulesV2
    function updateLocalNode(bytes32 enodeHigh, bytes32 enodeLow, NodeType nodeType, string calldata name) external {
        uint orgId = _checkAdmin();
        _checkName(name);
        (NodeData storage node, uint key) = _checkLocal(enodeHigh, enodeLow, orgId);
        _checkType(nodeType, orgId);
        _countBoot(node, false);
        node.nodeType = nodeType;
        node.name = name;
        _countBoot(node, true);
        emit NodeUpdated(enodeHigh, enodeLow, orgId, nodeType, name);
        _record(bytes32(key), Act.Updated, orgId);
    }

    /// @inheritdoc NodeRulesV2
    function updateLocalNodeStatus(bytes32 enodeHigh, bytes32 enodeLow, bool active) external {
        uint orgId = _checkAdmin();
        (NodeData storage node, uint key) = _checkLocal(enodeHigh, enodeLow, orgId);
        _setActive(node, key, active, orgId);
    }

    // ---- governance ----

    /// @inheritdoc NodeRulesV2
    function addNode(bytes32 enodeHigh, bytes32 enodeLow, NodeType nodeType, string calldata name, uint orgId)
        external
        onlyGovernance
    {
        if (!organizationsContract.isOrganizationActive(orgId)) revert InvalidOrganization(orgId);
        _add(enodeHigh, enodeLow, nodeType, name, orgId, 0);
    }

    /// @inheritdoc NodeRulesV2
    function deleteNode(bytes32 enodeHigh, bytes32 enodeLow) external onlyGovernance {
        (NodeData storage node, uint key) = _existing(enodeHigh, enodeLow);
        _delete(node, key, 0);
    }

    /// @notice Governance suspends any node or lets it connect again.
    function updateNodeStatus(bytes32 enodeHigh, bytes32 enodeLow, bool active) external onlyGovernance {
        (NodeData storage node, uint key) = _existing(enodeHigh, enodeLow);
        _setActive(node, key, active, 0);
    }

    /// @notice Governance puts a topology in force. Nodes judge their links again with the next block.
    function setTopology(Topology newTopology) external onlyGovernance {
        topology = newTopology;
        emit TopologyUpdated(newTopology);
    }

    /// @notice Governance demands proofs of possession, or does not any more.
    function setPossessionRequired(bool required) external onlyGovernance {
        possessionRequired = required;
        emit PossessionRequiredUpdated(required);
    }

    /// @notice Governance limits how many nodes an organisation has.
    /// @param orgId 0 for all that have no figure of their own.
    /// @param most 0 for no limit.
    function setNodeQuota(uint orgId, uint most) external onlyGovernance {
        nodeQuota[orgId] = most;
        emit NodeQuotaUpdated(orgId, most);
    }

    // ---- what anybody may ask ----

    /// @notice What a node's key signs so that an administrator of `orgId` may register it: EIP-191 data for this contract,
    /// bound to chain, organisation and the number of proofs so far.
    function possessionDigest(bytes32 enodeHigh, bytes32 enodeLow, uint orgId) public view returns (bytes32) {
        uint nonce = possessionNonce[_key(enodeHigh, enodeLow)];
        bytes32 content = keccak256(abi.encode(POSSESSION, block.chainid, enodeHigh, enodeLow, orgId, nonce));
        return keccak256(abi.encodePacked(hex"1900", address(this), content));
    }

    /// @inheritdoc NodeRulesV2
    function isNodeActive(bytes32 enodeHigh, bytes32 enodeLow) external view returns (bool) {
        return _isActive(allowedNodes[_key(enodeHigh, enodeLow)]);
    }

    /// @inheritdoc NodeRulesV2
    function getNode(bytes32 enodeHigh, bytes32 enodeLow) external view returns (NodeData memory) {
        (NodeData storage node,) = _existing(enodeHigh, enodeLow);
        return node;
    }

    /// @inheritdoc NodeRulesV2
    function getNumberOfNodes() external view returns (uint) {
        return _keys.length();
    }

    /// @inheritdoc NodeRulesV2
    function getNumberOfNodesByOrg(uint orgId) external view returns (uint) {
        return _keysOf[orgId].length();
    }

    /// @inheritdoc NodeRulesV2
    function getNodes(uint pageNumber, uint pageSize) external view returns (NodeData[] memory) {
        return _page(_keys, pageNumber, pageSize);
    }

    /// @inheritdoc NodeRulesV2
    function getNodesByOrg(uint orgId, uint pageNumber, uint pageSize) external view returns (NodeData[] memory) {
        return _page(_keysOf[orgId], pageNumber, pageSize);
    }

    /// @notice Answers nodes: see NodeRulesProxy. Addresses and ports do not matter.
    function connectionAllowed(
        bytes32 sourceEnodeHigh,
        bytes32 sourceEnodeLow,
        bytes16,
        uint16,
        bytes32 destinationEnodeHigh,
        bytes32 destinationEnodeLow,
        bytes16,
        uint16
    ) external view returns (bytes32) {
        NodeData storage a = allowedNodes[_key(sourceEnodeHigh, sourceEnodeLow)];
        NodeData storage b = allowedNodes[_key(destinationEnodeHigh, destinationEnodeLow)];
        return _isActive(a) && _isActive(b) && _links(a, b) ? CONNECTION_ALLOWED : CONNECTION_DENIED;
    }

    // ---- topology ----

    /// Whether the topology has a link between the two, whoever dials.
    function _links(NodeData storage a, NodeData storage b) private view returns (bool) {
        return topology == Topology.Any || _dials(a, b) || _dials(b, a);
    }

    /// Whether `from` opens connections to `to`, which listens.
    function _dials(NodeData storage from, NodeData storage to) private view returns (bool) {
        bool own = from.orgId == to.orgId;
        if (to.nodeType == NodeType.Boot) {
            if (from.nodeType == NodeType.Boot) return true;
            if (from.nodeType == NodeType.Validator) return own;
            if (
                from.nodeType == NodeType.Writer || from.nodeType == NodeType.WriterPartner
                    || from.nodeType == NodeType.ObserverBoot
            ) return own || activeBoots[from.orgId] == 0;
            return false;
        }
        if (to.nodeType == NodeType.ObserverBoot) {
            return from.nodeType == NodeType.Observer || from.nodeType == NodeType.ObserverBoot;
        }
        return to.nodeType == NodeType.Validator && from.nodeType == NodeType.Validator && topology == Topology.Mesh;
    }

    // ---- checks ----

    /// The caller is an administrator that may act, and local changes are not paused.
    /// @return Its organisation.
    function _checkAdmin() private view returns (uint) {
        if (
            !accountsContract.hasRole(GLOBAL_ADMIN_ROLE, msg.sender) && !accountsContract.hasRole(LOCAL_ADMIN_ROLE, msg.sender)
        ) revert UnauthorizedAccess(msg.sender);
        if (!accountsContract.isAccountActive(msg.sender)) {
            revert InactiveAccount(msg.sender, "the account or its organization is not active");
        }
        _checkNotPaused();
        return accountsContract.getAccount(msg.sender).orgId;
    }

    function _existing(bytes32 enodeHigh, bytes32 enodeLow) private view returns (NodeData storage node, uint key) {
        key = _key(enodeHigh, enodeLow);
        node = allowedNodes[key];
        if (node.orgId == 0) revert NodeNotFound(enodeHigh, enodeLow);
    }

    function _checkLocal(bytes32 enodeHigh, bytes32 enodeLow, uint orgId)
        private
        view
        returns (NodeData storage node, uint key)
    {
        (node, key) = _existing(enodeHigh, enodeLow);
        if (node.orgId != orgId) revert NotLocalNode(enodeHigh, enodeLow);
    }

    function _checkName(string calldata name) private pure {
        if (bytes(name).length == 0) revert InvalidArgument("the node's name is empty");
        if (bytes(name).length > NAME_MAX) revert InvalidArgument("the node's name is longer than 128 bytes");
    }

    /// A partner runs neither validators nor boots.
    function _checkType(NodeType nodeType, uint orgId) private view {
        if (nodeType != NodeType.Validator && nodeType != NodeType.Boot) return;
        Organization.OrganizationData[] memory orgs = organizationsContract.getOrganizations();
        for (uint i = 0; i < orgs.length; ++i) {
            if (orgs[i].id == orgId && orgs[i].orgType == Organization.OrganizationType.Partner) {
                revert InvalidArgument("a partner runs no validator and no boot");
            }
        }
    }

    function _isActive(NodeData storage node) private view returns (bool) {
        return node.active && organizationsContract.isOrganizationActive(node.orgId);
    }

    // ---- changes ----

    function _add(
        bytes32 enodeHigh,
        bytes32 enodeLow,
        NodeType nodeType,
        string calldata name,
        uint orgId,
        uint actorOrgId
    ) private {
        _checkName(name);
        uint key = _key(enodeHigh, enodeLow);
        NodeData storage node = allowedNodes[key];
        if (node.orgId != 0) {
            if (organizationsContract.isOrganizationActive(node.orgId)) revert DuplicateNode(enodeHigh, enodeLow);
            // Its organisation is gone: the key is free.
            _delete(node, key, actorOrgId);
        }
        _checkType(nodeType, orgId);
        uint most = nodeQuota[orgId] == 0 ? nodeQuota[0] : nodeQuota[orgId];
        if (most != 0 && _keysOf[orgId].length() >= most) revert QuotaExceeded(orgId, most);
        allowedNodes[key] = NodeData(enodeHigh, enodeLow, nodeType, name, orgId, true);
        assert(_keys.add(bytes32(key)));
        assert(_keysOf[orgId].add(bytes32(key)));
        _countBoot(node, true);
        emit NodeAdded(enodeHigh, enodeLow, orgId, nodeType, name);
        _record(bytes32(key), Act.Added, actorOrgId);
    }

    function _delete(NodeData storage node, uint key, uint actorOrgId) private {
        (bytes32 enodeHigh, bytes32 enodeLow, uint orgId) = (node.enodeHigh, node.enodeLow, node.orgId);
        _countBoot(node, false);
        delete allowedNodes[key];
        assert(_keys.remove(bytes32(key)));
        assert(_keysOf[orgId].remove(bytes32(key)));
        emit NodeDeleted(enodeHigh, enodeLow, orgId);
        _record(bytes32(key), Act.Deleted, actorOrgId);
    }

    function _setActive(NodeData storage node, uint key, bool active, uint actorOrgId) private {
        _countBoot(node, false);
        node.active = active;
        _countBoot(node, true);
        emit NodeStatusUpdated(node.enodeHigh, node.enodeLow, node.orgId, active);
        _record(bytes32(key), active ? Act.Activated : Act.Deactivated, actorOrgId);
    }

    /// Counts the node among its organisation's active boots, or takes it out, if it is one.
    function _countBoot(NodeData storage node, bool more) private {
        if (node.nodeType != NodeType.Boot || !node.active) return;
        if (more) ++activeBoots[node.orgId];
        else --activeBoots[node.orgId];
    }

    function _key(bytes32 enodeHigh, bytes32 enodeLow) private pure returns (uint) {
        return uint(keccak256(abi.encodePacked(enodeHigh, enodeLow)));
    }

    function _page(Sets.Set storage set, uint pageNumber, uint pageSize) private view returns (NodeData[] memory page) {
        bytes32[] memory keys = Pagination.getPage(set, pageNumber, pageSize);
        page = new NodeData[](keys.length);
        for (uint i = 0; i < page.length; ++i) {
            page[i] = allowedNodes[uint(keys[i])];
        }
    }
}
