// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AccountRulesV2, GLOBAL_ADMIN_ROLE} from "./AccountRulesV2.sol";
import {NodeRulesV2} from "./NodeRulesV2.sol";

/// @title What a call is about, from its selector and arguments.
library Kinds {
    bytes4 private constant UPDATE_ACCOUNT_STATUS = bytes4(keccak256("updateAccountStatus(address,bool)"));
    bytes4 private constant UPDATE_NODE_STATUS = bytes4(keccak256("updateNodeStatus(bytes32,bytes32,bool)"));
    bytes4 private constant CANCEL = bytes4(keccak256("cancelProposal(uint256,string)"));

    /// @return The first four bytes; zeros when there are fewer.
    function selectorOf(bytes calldata data) internal pure returns (bytes4) {
        return data.length < 4 ? bytes4(0) : bytes4(data[:4]);
    }

    /// @return Whether the call makes, removes, suspends or restores a global administrator.
    function isAboutGlobalAdmin(AccountRulesV2 accounts, bytes4 selector, bytes calldata data) internal view returns (bool) {
        if (selector == AccountRulesV2.addAccount.selector) {
            return _word(data, 68) == GLOBAL_ADMIN_ROLE;
        }
        if (selector == AccountRulesV2.deleteAccount.selector || selector == UPDATE_ACCOUNT_STATUS) {
            return accounts.hasRole(GLOBAL_ADMIN_ROLE, address(uint160(uint(_word(data, 4)))));
        }
        return false;
    }

    function isOrdinaryOfAccounts(bytes4 selector) internal pure returns (bool) {
        return selector == AccountRulesV2.addAccount.selector || selector == AccountRulesV2.deleteAccount.selector
            || selector == UPDATE_ACCOUNT_STATUS || selector == AccountRulesV2.setSmartContractSenderAccess.selector;
    }

    function isOrdinaryOfNodes(bytes4 selector) internal pure returns (bool) {
        return selector == NodeRulesV2.addNode.selector || selector == NodeRulesV2.deleteNode.selector
            || selector == UPDATE_NODE_STATUS;
    }

    function isCancel(bytes4 selector) internal pure returns (bool) {
        return selector == CANCEL;
    }

    /// The 32 bytes from `at` on, zeros past the end.
    function _word(bytes calldata data, uint at) private pure returns (bytes32) {
        return data.length < at + 32 ? bytes32(0) : bytes32(data[at:at + 32]);
    }
}
