// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AdminProxy} from "./AdminProxy.sol";
import {Ingress} from "./Ingress.sol";
import {CONNECTION_ALLOWED, CONNECTION_DENIED} from "./NodeRulesV2.sol";
import {NodeRulesProxy} from "./NodeRulesProxy.sol";

/// @title What nodes ask about connections.
contract NodeIngress is Ingress, NodeRulesProxy {
    event NodePermissionsUpdated(bool addsRestrictions);

    constructor(AdminProxy administration) Ingress(administration) {}

    /// @inheritdoc NodeRulesProxy
    /// @dev Allowed while there are no rules, as in the first generation and as nodes expect of a new network.
    function connectionAllowed(
        bytes32 sourceEnodeHigh,
        bytes32 sourceEnodeLow,
        bytes16 sourceEnodeIp,
        uint16 sourceEnodePort,
        bytes32 destinationEnodeHigh,
        bytes32 destinationEnodeLow,
        bytes16 destinationEnodeIp,
        uint16 destinationEnodePort
    ) external view returns (bytes32) {
        address rules = getContractAddress(RULES_CONTRACT);
        if (rules == address(0)) return CONNECTION_ALLOWED;
        return NodeRulesProxy(rules).connectionAllowed(
            sourceEnodeHigh,
            sourceEnodeLow,
            sourceEnodeIp,
            sourceEnodePort,
            destinationEnodeHigh,
            destinationEnodeLow,
            destinationEnodeIp,
            destinationEnodePort
        );
    }

    /// @notice The rules tell that they have changed.
    function emitRulesChangeEvent(bool addsRestrictions) external {
        require(msg.sender == getContractAddress(RULES_CONTRACT), "only the rules tell of their changes");
        emit NodePermissionsUpdated(addsRestrictions);
    }

    function _checkRules(address rules) internal view override {
        bytes32 answer = NodeRulesProxy(rules).connectionAllowed(0, 0, 0, 0, 0, 0, 0, 0);
        require(answer == CONNECTION_ALLOWED || answer == CONNECTION_DENIED, "the rules do not answer in form");
    }
}
