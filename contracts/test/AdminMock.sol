// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AdminProxy} from "../src/AdminProxy.sol";

/// @title An Admin contract that anybody may change.
contract AdminMock is AdminProxy {
    mapping(address => bool) public admins;

    function addAdmin(address source) external {
        admins[source] = true;
    }

    function removeAdmin(address source) external {
        admins[source] = false;
    }

    function isAuthorized(address source) external view returns (bool) {
        return admins[source];
    }
}
