// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {NodeRulesProxy} from "./NodeRulesProxy.sol";

bytes32 constant CONNECTION_ALLOWED = bytes32(type(uint256).max);
bytes32 constant CONNECTION_DENIED = bytes32(type(uint256).max >> 1);

/// @title The nodes that may take part.
/// @notice Functions, events and errors of RBB's second generation. A node is known by its public key in two halves.
interface NodeRulesV2 is NodeRulesProxy {
    enum NodeType {
        Boot,
        Validator,
        Writer,
        WriterPartner,
        ObserverBoot,
        Observer,
        Other
    }

    struct NodeData {
        bytes32 enodeHigh;
        bytes32 enodeLow;
        NodeType nodeType;
        string name;
        uint orgId;
        bool active;
    }

    event NodeAdded(bytes32 indexed enodeHigh, bytes32 indexed enodeLow, uint indexed orgId, NodeType nodeType, string name);
    event NodeDeleted(bytes32 indexed enodeHigh, bytes32 indexed enodeLow, uint indexed orgId);
    event NodeUpdated(bytes32 indexed enodeHigh, bytes32 indexed enodeLow, uint indexed orgId, NodeType nodeType, string name);
    event NodeStatusUpdated(bytes32 indexed enodeHigh, bytes32 indexed enodeLow, uint indexed orgId, bool active);

    error InvalidArgument(string message);
    error InactiveAccount(address account, string message);
    error InvalidOrganization(uint orgId);
    error NotLocalNode(bytes32 enodeHigh, bytes32 enodeLow);
    error DuplicateNode(bytes32 enodeHigh, bytes32 enodeLow);
    error NodeNotFound(bytes32 enodeHigh, bytes32 enodeLow);
    error InvalidState(string message);
    error InactiveNode(bytes32 enodeHigh, bytes32 enodeLow);

    /// @notice An administrator adds a node of its own organisation.
    function addLocalNode(bytes32 enodeHigh, bytes32 enodeLow, NodeType nodeType, string memory name) external;
    /// @notice An administrator removes a node of its own organisation.
    function deleteLocalNode(bytes32 enodeHigh, bytes32 enodeLow) external;
    /// @notice An administrator changes a node's type and name.
    function updateLocalNode(bytes32 enodeHigh, bytes32 enodeLow, NodeType nodeType, string memory name) external;
    /// @notice An administrator suspends a node or lets it connect again.
    function updateLocalNodeStatus(bytes32 enodeHigh, bytes32 enodeLow, bool active) external;

    /// @notice Governance adds a node to any organisation.
    function addNode(bytes32 enodeHigh, bytes32 enodeLow, NodeType nodeType, string memory name, uint orgId) external;
    /// @notice Governance removes a node.
    function deleteNode(bytes32 enodeHigh, bytes32 enodeLow) external;

    /// @return Whether the node is recorded as active and its organisation exists.
    function isNodeActive(bytes32 enodeHigh, bytes32 enodeLow) external view returns (bool);
    function getNode(bytes32 enodeHigh, bytes32 enodeLow) external view returns (NodeData memory);
    function getNumberOfNodes() external view returns (uint);
    function getNumberOfNodesByOrg(uint orgId) external view returns (uint);
    function getNodes(uint pageNumber, uint pageSize) external view returns (NodeData[] memory);
    function getNodesByOrg(uint orgId, uint pageNumber, uint pageSize) external view returns (NodeData[] memory);
}
