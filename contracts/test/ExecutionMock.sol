// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// @title Something that a proposal can call, with and without success.
contract ExecutionMock {
    uint public code;
    string public message = "No message";

    function setCode(uint newCode) external {
        code = newCode;
    }

    function setMessage(string calldata newMessage) external {
        message = newMessage;
    }

    function revertTransaction() external pure {
        revert();
    }
}
