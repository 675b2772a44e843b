// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AdminProxy} from "./AdminProxy.sol";
import {Sets} from "./Sets.sol";

/// @title Master administrators.
/// @notice Functions and events of RBB's first generation. Beyond it: once sealed, only contracts are administrators, at most
/// two (the governance in office and the one that succeeds it), so that no key stands above governance.
contract Admin is AdminProxy {
    using Sets for Sets.Set;

    uint private constant SEALED_MAX = 2;

    Sets.Set private _admins;
    /// @notice Whether accounts without code are refused for ever.
    bool public isSealed;

    event AdminAdded(bool adminAdded, address indexed account, address indexed grantor, uint indexed timestamp, string message);
    event AdminRemoved(bool adminRemoved, address indexed account, address indexed remover, uint indexed timestamp);
    event AdminsSealed(address indexed governance);

    /// @notice Only administrators pass.
    modifier onlyAdmin() {
        require(isAuthorized(msg.sender), "the sender is no administrator");
        _;
    }

    modifier notSelf(address account) {
        require(account != msg.sender, "an administrator does not remove itself");
        _;
    }

    /// @notice The deployer is the first administrator.
    constructor() {
        assert(_admins.add(Sets.word(msg.sender)));
        emit AdminAdded(true, msg.sender, msg.sender, block.timestamp, "deployer");
    }

    /// @inheritdoc AdminProxy
    function isAuthorized(address source) public view returns (bool) {
        return _admins.contains(Sets.word(source));
    }

    /// @return Whether the account was added; an administrator is not added again.
    function addAdmin(address account) external onlyAdmin returns (bool) {
        return _add(account);
    }

    /// @return Whether all accounts were added.
    function addAdmins(address[] calldata accounts) external onlyAdmin returns (bool) {
        bool all = true;
        for (uint i = 0; i < accounts.length; ++i) {
            all = _add(accounts[i]) && all;
        }
        return all;
    }

    /// @return Whether the account was an administrator.
    function removeAdmin(address account) external onlyAdmin notSelf(account) returns (bool) {
        bool removed = _admins.remove(Sets.word(account));
        emit AdminRemoved(removed, account, msg.sender, block.timestamp);
        return removed;
    }

    /// @notice The only administrator, a contract, closes the list to accounts without code. Not undone.
    function sealAdmins() external onlyAdmin {
        require(msg.sender.code.length != 0 && _admins.length() == 1, "seal by the only administrator, a contract");
        isSealed = true;
        emit AdminsSealed(msg.sender);
    }

    function getAdmins() external view returns (address[] memory admins) {
        admins = new address[](_admins.length());
        for (uint i = 0; i < admins.length; ++i) {
            admins[i] = allowlist(i);
        }
    }

    /// @param index From 0; the order changes with every removal.
    function allowlist(uint index) public view returns (address) {
        return Sets.unword(_admins.values[index]);
    }

    function _add(address account) private returns (bool added) {
        if (isSealed) {
            require(account.code.length != 0, "sealed: only a contract becomes administrator");
            require(_admins.length() < SEALED_MAX, "sealed: remove the administrator before last first");
        }
        added = account != address(0) && _admins.add(Sets.word(account));
        emit AdminAdded(added, account, msg.sender, block.timestamp, added ? "added" : "is one, or zero");
    }
}
