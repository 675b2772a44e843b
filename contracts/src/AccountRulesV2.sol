// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AccountRulesProxy} from "./AccountRulesProxy.sol";

bytes32 constant GLOBAL_ADMIN_ROLE = keccak256("GLOBAL_ADMIN_ROLE");
bytes32 constant LOCAL_ADMIN_ROLE = keccak256("LOCAL_ADMIN_ROLE");
bytes32 constant DEPLOYER_ROLE = keccak256("DEPLOYER_ROLE");
bytes32 constant USER_ROLE = keccak256("USER_ROLE");

/// @title Roles as OpenZeppelin's AccessControl shows them.
interface RoleView {
    function hasRole(bytes32 role, address account) external view returns (bool);
    function getRoleAdmin(bytes32 role) external view returns (bytes32);
    function grantRole(bytes32 role, address account) external;
    function revokeRole(bytes32 role, address account) external;
    function renounceRole(bytes32 role, address callerConfirmation) external;
}

/// @title The accounts that may send transactions.
/// @notice Functions, events and errors of RBB's second generation.
interface AccountRulesV2 is AccountRulesProxy, RoleView {
    struct AccountData {
        uint orgId;
        address account;
        bytes32 roleId;
        /// Digest of the registration kept off chain; zero only for administrators.
        bytes32 dataHash;
        bool active;
    }

    event RoleAdminChanged(bytes32 indexed role, bytes32 indexed previousAdminRole, bytes32 indexed newAdminRole);
    event RoleGranted(bytes32 indexed role, address indexed account, address indexed sender);
    event RoleRevoked(bytes32 indexed role, address indexed account, address indexed sender);
    event AccountAdded(address indexed account, uint indexed orgId, bytes32 roleId, bytes32 dataHash);
    event AccountDeleted(address indexed account, uint indexed orgId);
    event AccountUpdated(address indexed account, uint indexed orgId, bytes32 roleId, bytes32 dataHash);
    event AccountStatusUpdated(address indexed account, uint indexed orgId, bool active);
    event AccountTargetAccessUpdated(address indexed account, bool indexed restricted, address[] allowedTargets);
    event SmartContractSenderAccessUpdated(address indexed smartContract, bool indexed restricted, address[] allowedSenders);

    error AccessControlUnauthorizedAccount(address account, bytes32 neededRole);
    error AccessControlBadConfirmation();
    error InvalidArgument(string message);
    error InactiveAccount(address account, string message);
    error InvalidAccount(address account, string message);
    error DuplicateAccount(address account);
    error AccountNotFound(address account);
    error NotLocalAccount(address account);
    error InvalidOrganization(uint orgId, string message);
    error InvalidRole(bytes32 roleId, string message);
    error InvalidHash(bytes32 hash, string message);
    error IllegalState(string message);

    /// @notice An administrator adds an account to its own organisation, in any role but global administrator.
    function addLocalAccount(address account, bytes32 roleId, bytes32 dataHash) external;
    /// @notice An administrator removes an account of its own organisation that is no global administrator.
    function deleteLocalAccount(address account) external;
    /// @notice An administrator changes role and digest of such an account.
    function updateLocalAccount(address account, bytes32 roleId, bytes32 dataHash) external;
    /// @notice An administrator suspends such an account or lets it act again.
    function updateLocalAccountStatus(address account, bool active) external;
    /// @notice An administrator limits such an account to the given targets, or lifts the limit.
    function setAccountTargetAccess(address account, bool restricted, address[] calldata allowedTargets) external;

    /// @notice Governance adds an account in any role to any organisation.
    function addAccount(address account, uint orgId, bytes32 roleId, bytes32 dataHash) external;
    /// @notice Governance removes an account.
    function deleteAccount(address account) external;
    /// @notice Governance limits a contract to the given senders (none: the contract is switched off), or lifts the limit.
    function setSmartContractSenderAccess(address smartContract, bool restricted, address[] calldata allowedSenders) external;

    /// @return Whether the account is recorded as active and its organisation exists.
    function isAccountActive(address account) external view returns (bool);
    function getAccount(address account) external view returns (AccountData memory);
    function getNumberOfAccounts() external view returns (uint);
    function getAccounts(uint pageNumber, uint pageSize) external view returns (AccountData[] memory);
    function getNumberOfAccountsByOrg(uint orgId) external view returns (uint);
    function getAccountsByOrg(uint orgId, uint pageNumber, uint pageSize) external view returns (AccountData[] memory);
    function getAccountTargetAccess(address account) external view returns (bool restricted, address[] memory);
    function getNumberOfRestrictedAccounts() external view returns (uint);
    function getRestrictedAccounts(uint pageNumber, uint pageSize) external view returns (address[] memory);
    function getSmartContractSenderAccess(address smartContract) external view returns (bool restricted, address[] memory);
    function getNumberOfRestrictedSmartContracts() external view returns (uint);
    function getRestrictedSmartContracts(uint pageNumber, uint pageSize) external view returns (address[] memory);
}
