// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AdminProxy} from "../src/AdminProxy.sol";
import {Governable} from "../src/Governable.sol";

/// @title One function for governance, one for everybody.
contract GovernableTest is Governable {
    constructor(AdminProxy adminsProxy) Governable(adminsProxy) {}

    function governanceAllowedFunction() external onlyGovernance {}

    function publiclyAllowedFunction() external {}
}
