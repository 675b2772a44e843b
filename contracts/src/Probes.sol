// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AccountRulesProxy} from "./AccountRulesProxy.sol";
import {CONNECTION_ALLOWED, CONNECTION_DENIED} from "./NodeRulesV2.sol";
import {NodeRulesProxy} from "./NodeRulesProxy.sol";
import {Organization} from "./Organization.sol";

/// @title Questions that an execution has to leave answered well.
/// @notice A network whose rules do not answer, or whose governance nobody can reach, makes empty blocks for ever: no
/// transaction can repair it. So the execution that would lead there reverts.
library Probes {
    bytes32 private constant RULES = "rules";
    bytes32 private constant ADMINISTRATION = "administration";
    bytes4 private constant SET_CONTRACT = bytes4(keccak256("setContractAddress(bytes32,address)"));
    bytes4 private constant REMOVE_CONTRACT = bytes4(keccak256("removeContract(bytes32)"));

    error IngressWouldFail(address ingress, string what);
    error NobodyCouldVote();

    /// @return Whether the call changes what an ingress points to.
    function repoints(bytes calldata data) internal pure returns (bool) {
        if (data.length < 4) return false;
        bytes4 selector = bytes4(data[:4]);
        return selector == SET_CONTRACT || selector == REMOVE_CONTRACT;
    }

    /// @notice The ingress still obeys governance and nobody in general, its administration and rules are contracts, and
    /// the rules answer. The account that is executing may still send a transaction to governance.
    /// @param ingress Ingress of accounts or of nodes.
    /// @param governance Governance contract that executes.
    /// @param account Account that executes.
    function checkIngress(address ingress, address governance, address account) internal view {
        if (!_isContract(_registered(ingress, ADMINISTRATION))) {
            revert IngressWouldFail(ingress, "its administration is no contract");
        }
        if (!_isTrue(ingress, abi.encodeWithSignature("isAuthorized(address)", governance))) {
            revert IngressWouldFail(ingress, "it would not obey this governance");
        }
        if (_isTrue(ingress, abi.encodeWithSignature("isAuthorized(address)", address(uint160(uint(keccak256("nobody"))))))) {
            revert IngressWouldFail(ingress, "it would obey anybody");
        }
        address rules = _registered(ingress, RULES);
        if (!_isContract(rules)) revert IngressWouldFail(ingress, "its rules are no contract");
        bytes memory transaction =
            abi.encodeCall(AccountRulesProxy.transactionAllowed, (account, governance, 0, 0, 0, ""));
        (bool done, uint word) = _ask(ingress, transaction);
        if (done) {
            if (word != 1) revert IngressWouldFail(ingress, "the executing account could not send transactions");
            return;
        }
        bytes memory connection =
            abi.encodeCall(NodeRulesProxy.connectionAllowed, (0, 0, 0, 0, 0, 0, 0, 0));
        (done, word) = _ask(ingress, connection);
        if (!done || (bytes32(word) != CONNECTION_ALLOWED && bytes32(word) != CONNECTION_DENIED)) {
            revert IngressWouldFail(ingress, "its rules do not answer");
        }
    }

    /// @notice Some organisation that may vote has a global administrator that may act. Account rules that do not count
    /// their administrators are not asked.
    function checkElectorate(Organization organizations, address accounts) internal view {
        Organization.OrganizationData[] memory orgs = organizations.getOrganizations();
        for (uint i = 0; i < orgs.length; ++i) {
            if (!orgs[i].canVote) continue;
            (bool done, uint count) = _ask(accounts, abi.encodeWithSignature("activeGlobalAdmins(uint256)", orgs[i].id));
            if (!done || count > 0) return;
        }
        revert NobodyCouldVote();
    }

    /// @return How often an organisation's existence, kind, right to vote and global administrators have changed.
    function standing(address organizations, address accounts, uint orgId) internal view returns (uint) {
        (bool one, uint changes) = _ask(organizations, abi.encodeWithSignature("standingChanges(uint256)", orgId));
        (bool two, uint admins) = _ask(accounts, abi.encodeWithSignature("adminChanges(uint256)", orgId));
        require(one && two, "organizations or accounts do not count their changes");
        return changes + admins;
    }

    function _registered(address ingress, bytes32 name) private view returns (address) {
        (bool done, uint word) = _ask(ingress, abi.encodeWithSignature("getContractAddress(bytes32)", name));
        return done ? address(uint160(word)) : address(0);
    }

    function _isContract(address account) private view returns (bool) {
        return account.code.length != 0;
    }

    function _isTrue(address target, bytes memory question) private view returns (bool) {
        (bool done, uint word) = _ask(target, question);
        return done && word == 1;
    }

    /// One word, if the contract gives exactly one.
    function _ask(address target, bytes memory question) private view returns (bool, uint) {
        (bool done, bytes memory answer) = target.staticcall(question);
        return done && answer.length == 32 ? (true, abi.decode(answer, (uint))) : (false, 0);
    }
}
