// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AccountRulesProxy} from "./AccountRulesProxy.sol";
import {AdminProxy} from "./AdminProxy.sol";
import {Ingress} from "./Ingress.sol";

/// @title What nodes ask about transactions.
contract AccountIngress is Ingress, AccountRulesProxy {
    constructor(AdminProxy administration) Ingress(administration) {}

    /// @inheritdoc AccountRulesProxy
    /// @dev True while there are no rules, as in the first generation and as nodes expect of a new network.
    function transactionAllowed(
        address sender,
        address target,
        uint256 value,
        uint256 gasPrice,
        uint256 gasLimit,
        bytes calldata payload
    ) external view returns (bool) {
        address rules = getContractAddress(RULES_CONTRACT);
        return rules == address(0)
            || AccountRulesProxy(rules).transactionAllowed(sender, target, value, gasPrice, gasLimit, payload);
    }

    function _checkRules(address rules) internal view override {
        AccountRulesProxy(rules).transactionAllowed(msg.sender, msg.sender, 0, 0, 0, "");
    }
}
