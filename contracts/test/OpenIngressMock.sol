// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AccountRulesProxy} from "../src/AccountRulesProxy.sol";
import {AdminProxy} from "../src/AdminProxy.sol";

/// @title An ingress of accounts that checks nothing and obeys everybody without an administration, as the first
/// generation's does.
contract OpenIngressMock {
    mapping(bytes32 name => address) private _registry;

    constructor(address administration) {
        _registry["administration"] = administration;
    }

    function getContractAddress(bytes32 name) external view returns (address) {
        return _registry[name];
    }

    function isAuthorized(address account) public view returns (bool) {
        address administration = _registry["administration"];
        return administration == address(0) || AdminProxy(administration).isAuthorized(account);
    }

    function setContractAddress(bytes32 name, address target) external returns (bool) {
        require(isAuthorized(msg.sender), "not authorized");
        _registry[name] = target;
        return true;
    }

    function removeContract(bytes32 name) external returns (bool) {
        require(isAuthorized(msg.sender), "not authorized");
        delete _registry[name];
        return true;
    }

    function transactionAllowed(address sender, address target, uint256, uint256, uint256, bytes calldata)
        external
        view
        returns (bool)
    {
        address rules = _registry["rules"];
        return rules == address(0) || AccountRulesProxy(rules).transactionAllowed(sender, target, 0, 0, 0, "");
    }
}
