// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// @title Who did what, when and why, kept in storage.
/// @notice Logs may be pruned by a node; this may not. One record for every change of an account or a node, in order.
abstract contract Recorded {
    enum Act {
        Added,
        Updated,
        Deleted,
        Activated,
        Deactivated,
        Restricted,
        Released,
        Acknowledged
    }

    struct Record {
        /// Caller: an administrator's account, or the governance contract.
        address actor;
        uint48 blockNumber;
        Act act;
        /// Organisation of the caller, 0 for governance.
        uint128 actorOrgId;
        /// Proposal under execution, 0 when no proposal did it. Who voted for it is recorded there.
        uint128 proposalId;
        /// Empty unless the call was made through `withReason`.
        string reason;
    }

    event ActRecorded(
        bytes32 indexed subject, address indexed actor, uint indexed actorOrgId, Act act, uint proposalId, string reason
    );

    error NestedReason();

    mapping(bytes32 subject => Record[]) private _records;
    string private _reason;

    /// @notice Makes any call of this contract with a reason that is recorded. The caller stays the caller.
    /// @param reason Not empty.
    /// @param call Encoded call of a function of this contract.
    /// @return What the call returned.
    function withReason(string calldata reason, bytes calldata call) external returns (bytes memory) {
        if (bytes(_reason).length != 0 || bytes(reason).length == 0) revert NestedReason();
        _reason = reason;
        (bool done, bytes memory answer) = address(this).delegatecall(call);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        delete _reason;
        return answer;
    }

    /// @param subject An account as a word, or the hash of a node's public key.
    function getNumberOfRecords(bytes32 subject) external view returns (uint) {
        return _records[subject].length;
    }

    /// @param index From 0, oldest first.
    function getRecord(bytes32 subject, uint index) external view returns (Record memory) {
        return _records[subject][index];
    }

    function _record(bytes32 subject, Act act, uint actorOrgId) internal {
        uint proposalId = _executingProposal();
        _records[subject].push(
            Record(msg.sender, uint48(block.number), act, uint128(actorOrgId), uint128(proposalId), _reason)
        );
        emit ActRecorded(subject, msg.sender, actorOrgId, act, proposalId, _reason);
    }

    /// The proposal that the caller executes, 0 if it is no governance contract of this generation.
    function _executingProposal() private view returns (uint) {
        if (msg.sender.code.length == 0) return 0;
        (bool done, bytes memory answer) = msg.sender.staticcall(abi.encodeWithSignature("executingProposal()"));
        return done && answer.length == 32 ? abi.decode(answer, (uint)) : 0;
    }
}
