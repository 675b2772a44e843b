// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A contract that every client can deploy, write to, read from and fail with.
contract Notes {
    event Noted(address indexed author, uint256 indexed number, string text);

    error Refused(uint256 number);

    uint256 public count;
    mapping(uint256 => string) public notes;

    function note(string calldata text) external payable returns (uint256 number) {
        number = ++count;
        notes[number] = text;
        emit Noted(msg.sender, number, text);
    }

    function refuse(uint256 number) external pure {
        if (number > 9) revert Refused(number);
        revert("not today");
    }
}
