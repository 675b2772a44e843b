// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// @title What a node asks before it lets a transaction in.
interface AccountRulesProxy {
    /// @param sender Signer of the transaction.
    /// @param target Callee; zero when a contract is created.
    /// @return Whether the transaction may enter a block.
    function transactionAllowed(
        address sender,
        address target,
        uint256 value,
        uint256 gasPrice,
        uint256 gasLimit,
        bytes calldata payload
    ) external view returns (bool);
}
