// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AdminProxy} from "./AdminProxy.sol";

/// @title A contract with functions that only governance may call.
abstract contract Governable {
    /// @notice Contract that says who is governance. Part of the code, so it cannot be changed.
    AdminProxy public immutable admins;

    /// @param account Caller that is not allowed to do this.
    error UnauthorizedAccess(address account);

    /// @notice Only master administrators pass.
    modifier onlyGovernance() {
        _checkGovernance();
        _;
    }

    /// @param adminsProxy Contract that says who is governance, not zero.
    constructor(AdminProxy adminsProxy) {
        require(address(adminsProxy) != address(0), "the Admin contract's address is zero");
        admins = adminsProxy;
    }

    function _checkGovernance() private view {
        if (!admins.isAuthorized(msg.sender)) revert UnauthorizedAccess(msg.sender);
    }
}
