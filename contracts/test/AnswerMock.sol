// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// @title A contract that gives whatever answer it is told to, to any question.
contract AnswerMock {
    bytes private _answer;
    bool private _reverts;

    function setAnswer(bytes calldata answer, bool reverts) external {
        _answer = answer;
        _reverts = reverts;
    }

    fallback() external {
        bytes memory answer = _answer;
        if (_reverts) {
            while (answer.length == 1) {}
            revert();
        }
        assembly {
            // Two bytes stand for a megabyte and a half.
            if eq(mload(answer), 2) { return(0, 1500000) }
            return(add(answer, 32), mload(answer))
        }
    }
}
