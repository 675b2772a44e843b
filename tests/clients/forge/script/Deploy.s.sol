// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Notes} from "../src/Notes.sol";

/// The cheat codes of forge that are used here, instead of a library from a repository.
interface Vm {
    function startBroadcast() external;
    function stopBroadcast() external;
}

/// Deploys the contract and writes to it, one transaction after the other: `forge script Deploy --broadcast`.
contract Deploy {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function run() external returns (Notes notes) {
        vm.startBroadcast();
        notes = new Notes();
        notes.note("from a forge script");
        notes.note("and once more");
        vm.stopBroadcast();
    }
}
