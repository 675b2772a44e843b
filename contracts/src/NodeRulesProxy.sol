// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// @title What a node asks before it connects to another one.
interface NodeRulesProxy {
    /// @notice A node's public key comes in two halves, an address as IPv6 (IPv4 mapped).
    /// @return All bits set when the two may be connected, all but the highest when not.
    function connectionAllowed(
        bytes32 sourceEnodeHigh,
        bytes32 sourceEnodeLow,
        bytes16 sourceEnodeIp,
        uint16 sourceEnodePort,
        bytes32 destinationEnodeHigh,
        bytes32 destinationEnodeLow,
        bytes16 destinationEnodeIp,
        uint16 destinationEnodePort
    ) external view returns (bytes32);
}
