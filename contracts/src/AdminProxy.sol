// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// @title Who may act as governance.
/// @notice The part of an Admin contract that the rules ask.
interface AdminProxy {
    /// @param source Caller to be judged.
    /// @return Whether it is a master administrator.
    function isAuthorized(address source) external view returns (bool);
}
