// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Notes} from "../src/Notes.sol";

/// Runs on a fork of the chain (`forge test --fork-url`), on the contract at the address in NOTES.
interface Vm {
    function envAddress(string calldata name) external view returns (address);
}

contract NotesTest {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function test_reads_what_is_on_the_chain() external view {
        Notes notes = Notes(vm.envAddress("NOTES"));
        require(notes.count() == 2, "two notes expected");
        require(keccak256(bytes(notes.notes(1))) == keccak256("from a forge script"), "another first note");
    }

    function test_goes_on_from_there() external {
        Notes notes = Notes(vm.envAddress("NOTES"));
        require(notes.note("on the fork") == 3, "the third note expected");
    }
}
