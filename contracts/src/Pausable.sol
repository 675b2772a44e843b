// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {Governable} from "./Governable.sol";

/// @title A stop for what administrators of organisations do on their own.
/// @notice Only changes stop: answers to nodes go on as they are, and so does governance. A pause ends by itself.
abstract contract Pausable is Governable {
    /// Longest pause, in blocks: 15 days of 4 seconds.
    uint public constant PAUSE_BLOCKS_MAX = 324_000;

    /// @notice Last block in which local changes are refused; 0 or past when they are not.
    uint public pausedUntil;

    event LocalChangesPaused(uint untilBlock, address indexed by);

    error LocalChangesArePaused(uint untilBlock);
    error PauseTooLong(uint blocks, uint most);

    /// @notice Governance stops local changes for so many blocks from this one on; 0 ends a pause.
    function pauseLocalChanges(uint blocks) external onlyGovernance {
        if (blocks > PAUSE_BLOCKS_MAX) revert PauseTooLong(blocks, PAUSE_BLOCKS_MAX);
        pausedUntil = blocks == 0 ? 0 : block.number + blocks;
        emit LocalChangesPaused(pausedUntil, msg.sender);
    }

    function _checkNotPaused() internal view {
        if (block.number <= pausedUntil) revert LocalChangesArePaused(pausedUntil);
    }
}
