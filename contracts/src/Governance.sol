// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AccountRulesV2, GLOBAL_ADMIN_ROLE} from "./AccountRulesV2.sol";
import {AdminProxy} from "./AdminProxy.sol";
import {Charter} from "./Charter.sol";
import {Organization} from "./Organization.sol";
import {Pagination} from "./Pagination.sol";

/// @title Organisations decide by proposals.
/// @notice A global administrator of a voting organisation proposes calls; one vote per organisation; what is approved is
/// executed by a global administrator of a participant. Beyond the second generation: only what is approved is executed, and
/// only in time; only those count who exist and may vote now; thresholds, quorum, delay and the patrons' veto are parameters
/// that governance changes about itself; an execution that would leave the network without governance or rules reverts.
contract Governance {
    enum ProposalStatus {
        Active,
        Canceled,
        Finished,
        Executed
    }

    enum ProposalResult {
        Undefined,
        Approved,
        Rejected
    }

    enum ProposalVote {
        NotVoted,
        Approval,
        Rejection
    }

    /// What status, result, blocks and rules amount to.
    enum ProposalState {
        /// Votes count.
        Open,
        /// Approved, its delay has not passed.
        Waiting,
        /// Approved, can be executed now.
        Executable,
        Executed,
        Rejected,
        Vetoed,
        Canceled,
        /// Not approved in time, or not executed in time. Nothing brings it back.
        Expired
    }

    struct ProposalData {
        uint id;
        uint proponentOrgId;
        address[] targets;
        bytes[] calldatas;
        uint blocksDuration;
        string description;
        uint creationBlock;
        ProposalStatus status;
        ProposalResult result;
        /// Participants: who could vote when the proposal was made.
        uint[] organizations;
        ProposalVote[] votes;
        string cancelationReason;
    }

    /// What is known about a proposal beyond the second generation's record.
    struct Trail {
        address proponent;
        uint48 approvalBlock;
        Charter.Kind kind;
        address executor;
        uint48 executionBlock;
        address vetoer;
        uint48 vetoBlock;
        uint vetoOrgId;
        string vetoReason;
    }

    event ProposalCreated(uint indexed proposalId, address[] targets, bytes[] calldatas, uint blocksDuration, string description);
    event OrganizationVoted(uint indexed proposalId, uint orgId, bool approve);
    event ProposalCanceled(uint indexed proposalId, string reason);
    event ProposalFinished(uint indexed proposalId);
    event ProposalApproved(uint indexed proposalId);
    event ProposalRejected(uint indexed proposalId);
    event ProposalExecuted(uint indexed proposalId);

    event ProposalSubmitted(uint indexed proposalId, uint indexed orgId, address indexed proponent, Charter.Kind kind);
    event VoteCast(uint indexed proposalId, uint indexed orgId, address indexed voter, bool approve);
    event VoteNotCounted(uint indexed proposalId, uint indexed orgId, address indexed voter);
    event ProposalVetoed(uint indexed proposalId, uint indexed orgId, address indexed vetoer, string reason);
    event CancelationSent(uint indexed proposalId, address indexed by);
    event ExecutionEnded(uint indexed proposalId, uint indexed orgId, address indexed executor);

    error UnauthorizedAccess(address account, string message);
    error InvalidArgument(string message);
    error IllegalState(string message);
    error ProposalNotFound(uint proposalId);
    error FailedCall();
    error AddressEmptyCode(address target);
    error PatronConsentMissing(uint orgId);

    /// Most calls of a proposal, and most bytes of their data together.
    uint public constant CALLS_MAX = 64;
    uint public constant CALLDATA_MAX = 65_536;
    /// Most proposals of an organisation that nobody has decided yet.
    uint public constant OPEN_MAX = 32;

    AdminProxy public immutable admins;
    Organization public immutable organizations;
    AccountRulesV2 public immutable accounts;
    /// @notice The parameters, and what no execution may do.
    Charter public immutable charter;
    /// @notice Number given last.
    uint public idSeed;
    ProposalData[] public proposals;
    /// @notice Proposal that is being executed, 0 outside an execution.
    uint public executingProposal;

    mapping(uint proposalId => Charter.Rule) private _rules;
    mapping(uint proposalId => Trail) private _trails;
    mapping(uint proposalId => mapping(uint orgId => address)) private _voters;
    mapping(uint proposalId => mapping(address voter => bool)) private _hasVoted;
    mapping(uint orgId => uint[] proposalIds) private _proposalsOf;

    /// @param orgs Organisations, not zero.
    /// @param accs Accounts, not zero.
    /// @param adminsProxy Contract that says who is governance, not zero.
    constructor(Organization orgs, AccountRulesV2 accs, AdminProxy adminsProxy) {
        if (address(orgs) == address(0)) revert InvalidArgument("the Organization contract's address is zero");
        if (address(accs) == address(0)) revert InvalidArgument("the account rules' address is zero");
        if (address(adminsProxy) == address(0)) revert InvalidArgument("the Admin contract's address is zero");
        organizations = orgs;
        accounts = accs;
        admins = adminsProxy;
        charter = new Charter(orgs, accs, adminsProxy);
    }

    // ---- proposals ----

    /// @notice A global administrator of an organisation that may vote proposes calls.
    /// @param targets Contracts, 1 to 64.
    /// @param calldatas Data of each call.
    /// @param blocksDuration Blocks in which votes count, after the present one.
    /// @param description Not empty.
    /// @return id Number of the proposal, from 1.
    function createProposal(
        address[] calldata targets,
        bytes[] memory calldatas,
        uint blocksDuration,
        string calldata description
    ) external returns (uint id) {
        uint orgId = _checkGlobalAdmin();
        _checkCalls(targets, calldatas);
        if (blocksDuration == 0) revert InvalidArgument("the duration is 0 blocks");
        if (bytes(description).length == 0) revert InvalidArgument("the description is empty");
        _checkOpen(orgId);

        id = ++idSeed;
        ProposalData storage proposal = proposals.push();
        proposal.id = id;
        proposal.proponentOrgId = orgId;
        proposal.targets = targets;
        proposal.calldatas = calldatas;
        proposal.blocksDuration = blocksDuration;
        proposal.description = description;
        proposal.creationBlock = block.number;
        bool votes;
        Organization.OrganizationData[] memory orgs = organizations.getOrganizations();
        for (uint i = 0; i < orgs.length; ++i) {
            if (!orgs[i].canVote) continue;
            proposal.organizations.push(orgs[i].id);
            proposal.votes.push(ProposalVote.NotVoted);
            votes = votes || orgs[i].id == orgId;
        }
        if (!votes) revert UnauthorizedAccess(msg.sender, "the sender's organization does not vote");
        Charter.Kind kind;
        (kind, _rules[id]) = charter.ruleFor(targets, calldatas, blocksDuration);
        _trails[id].kind = kind;
        _trails[id].proponent = msg.sender;
        _proposalsOf[orgId].push(id);
        emit ProposalCreated(id, targets, calldatas, blocksDuration, description);
        emit ProposalSubmitted(id, orgId, msg.sender, kind);
    }

    /// @notice The proponent's organisation, or governance, takes a proposal back that is not finished.
    /// @param reason Not empty.
    function cancelProposal(uint proposalId, string calldata reason) external {
        bool governs = admins.isAuthorized(msg.sender);
        if (!governs) _checkGlobalAdmin();
        ProposalData storage proposal = _existing(proposalId);
        if (!governs && proposal.proponentOrgId != accounts.getAccount(msg.sender).orgId) {
            revert UnauthorizedAccess(msg.sender, "the sender's organization did not propose it");
        }
        if (proposal.status != ProposalStatus.Active) revert IllegalState("the proposal is not active");
        if (_rules[proposalId].approvedStands && proposal.result == ProposalResult.Approved) {
            revert IllegalState("an approved proposal is not taken back");
        }
        if (bytes(reason).length == 0) revert InvalidArgument("the reason is empty");
        proposal.status = ProposalStatus.Canceled;
        proposal.cancelationReason = reason;
        emit ProposalCanceled(proposalId, reason);
        emit CancelationSent(proposalId, msg.sender);
    }

    /// @notice A global administrator casts its organisation's vote.
    /// @return Whether the vote counts; false when the duration has passed, which ends the proposal.
    function castVote(uint proposalId, bool approve) external returns (bool) {
        uint orgId = _checkGlobalAdmin();
        ProposalData storage proposal = _existing(proposalId);
        if (proposal.status != ProposalStatus.Active) revert IllegalState("the proposal is not active");
        uint place = _checkParticipant(proposal, orgId);
        if (!_mayVote(organizations.getOrganizations(), orgId)) {
            revert UnauthorizedAccess(msg.sender, "the sender's organization does not vote any more");
        }
        if (proposal.votes[place] != ProposalVote.NotVoted) revert IllegalState("the organization has voted");
        if (_hasVoted[proposalId][msg.sender]) revert IllegalState("the account has voted for another organization");
        if (block.number > _deadline(proposal)) {
            _finish(proposal);
            emit VoteNotCounted(proposalId, orgId, msg.sender);
            return false;
        }
        proposal.votes[place] = approve ? ProposalVote.Approval : ProposalVote.Rejection;
        _voters[proposalId][orgId] = msg.sender;
        _hasVoted[proposalId][msg.sender] = true;
        emit OrganizationVoted(proposalId, orgId, approve);
        emit VoteCast(proposalId, orgId, msg.sender, approve);
        _tally(proposal);
        return true;
    }

    /// @notice Counts again: participants may have left since the last vote. Anybody may ask for it until the deadline.
    function settleProposal(uint proposalId) external {
        ProposalData storage proposal = _existing(proposalId);
        if (proposal.status != ProposalStatus.Active || block.number > _deadline(proposal)) {
            revert IllegalState("votes do not count any more");
        }
        _tally(proposal);
    }

    /// @notice A patron stops a proposal, if its rule has a veto. Possible from the beginning until `vetoBlocks` after the
    /// approval; the delay is never shorter than that.
    /// @param reason Not empty.
    function vetoProposal(uint proposalId, string calldata reason) external {
        uint orgId = _checkGlobalAdmin();
        ProposalData storage proposal = _existing(proposalId);
        if (!_isPatron(orgId)) revert UnauthorizedAccess(msg.sender, "the sender's organization is no patron");
        Trail storage trail = _trails[proposalId];
        uint vetoBlocks = _rules[proposalId].vetoBlocks;
        if (
            vetoBlocks == 0 || proposal.status == ProposalStatus.Canceled || proposal.status == ProposalStatus.Executed
                || proposal.result == ProposalResult.Rejected
                || (trail.approvalBlock != 0 && block.number > trail.approvalBlock + vetoBlocks)
        ) revert IllegalState("there is no veto, or not any more");
        if (bytes(reason).length == 0) revert InvalidArgument("the reason is empty");
        trail.vetoer = msg.sender;
        trail.vetoBlock = uint48(block.number);
        trail.vetoOrgId = orgId;
        trail.vetoReason = reason;
        proposal.result = ProposalResult.Rejected;
        emit ProposalVetoed(proposalId, orgId, msg.sender, reason);
        emit ProposalRejected(proposalId);
        if (proposal.status == ProposalStatus.Active) _finish(proposal);
    }

    /// @notice A global administrator of a participant makes the calls of an approved proposal. All of them take effect, or
    /// none. What they return is returned.
    function executeProposal(uint proposalId) external returns (bytes[] memory returned) {
        uint orgId = _checkGlobalAdmin();
        ProposalData storage proposal = _existing(proposalId);
        if (proposal.status != ProposalStatus.Active && proposal.status != ProposalStatus.Finished) {
            revert IllegalState("the proposal is neither active nor finished");
        }
        _checkParticipant(proposal, orgId);
        if (executingProposal != 0) revert IllegalState("another proposal is being executed");
        if (proposal.result != ProposalResult.Approved) revert IllegalState("the proposal is not approved");
        ProposalState state = stateOf(proposalId);
        if (state != ProposalState.Executable) {
            revert IllegalState(state == ProposalState.Waiting ? "the delay has not passed" : "the time to execute has passed");
        }
        if (_count(proposal) != ProposalResult.Approved) revert IllegalState("those who vote now do not approve it");
        if (charter.kindOf(proposal.targets, proposal.calldatas) > _trails[proposalId].kind) {
            revert IllegalState("the calls have become of a graver kind");
        }

        if (proposal.status != ProposalStatus.Finished) _finish(proposal);
        proposal.status = ProposalStatus.Executed;
        executingProposal = proposalId;
        _trails[proposalId].executor = msg.sender;
        _trails[proposalId].executionBlock = uint48(block.number);
        emit ProposalExecuted(proposalId);
        returned = _execute(proposal);
        executingProposal = 0;
        emit ExecutionEnded(proposalId, orgId, msg.sender);
    }

    // ---- what anybody may ask ----

    function getProposal(uint proposalId) external view returns (ProposalData memory) {
        return _existing(proposalId);
    }

    function getNumberOfProposals() external view returns (uint) {
        return proposals.length;
    }

    function getProposals(uint pageNumber, uint pageSize) external view returns (ProposalData[] memory page) {
        (uint start, uint stop) = Pagination.getPageBounds(proposals.length, pageNumber, pageSize);
        page = new ProposalData[](stop - start);
        for (uint i = start; i < stop; ++i) {
            page[i - start] = proposals[i];
        }
    }

    /// @return Who did what, and the rule's kind.
    function getTrail(uint proposalId) external view returns (Trail memory) {
        _existing(proposalId);
        return _trails[proposalId];
    }

    /// @return The rule that was in force for the proposal's kind when it was made; it stays the proposal's rule.
    function getRule(uint proposalId) external view returns (Charter.Rule memory) {
        _existing(proposalId);
        return _rules[proposalId];
    }

    /// @return Account that cast an organisation's vote, zero if there is none.
    function getVoter(uint proposalId, uint orgId) external view returns (address) {
        return _voters[proposalId][orgId];
    }

    /// @return What can become of the proposal in the present block.
    function stateOf(uint proposalId) public view returns (ProposalState) {
        ProposalData storage proposal = _existing(proposalId);
        Trail storage trail = _trails[proposalId];
        if (proposal.status == ProposalStatus.Executed) return ProposalState.Executed;
        if (proposal.status == ProposalStatus.Canceled) return ProposalState.Canceled;
        if (trail.vetoer != address(0)) return ProposalState.Vetoed;
        if (proposal.result == ProposalResult.Rejected) return ProposalState.Rejected;
        uint deadline = _deadline(proposal);
        if (proposal.result == ProposalResult.Undefined) {
            bool over = proposal.status == ProposalStatus.Finished || block.number > deadline;
            return over ? ProposalState.Expired : ProposalState.Open;
        }
        uint from = uint(trail.approvalBlock) + _rules[proposalId].delayBlocks;
        if (block.number < from) return ProposalState.Waiting;
        uint begin = deadline > from ? deadline : from;
        if (block.number > begin && block.number - begin > _rules[proposalId].executionBlocks) return ProposalState.Expired;
        return ProposalState.Executable;
    }

    // ---- checks ----

    /// @return Organisation of the caller, a global administrator that may act.
    function _checkGlobalAdmin() private view returns (uint) {
        if (!accounts.hasRole(GLOBAL_ADMIN_ROLE, msg.sender)) {
            revert UnauthorizedAccess(msg.sender, "the sender is no global administrator");
        }
        if (!accounts.isAccountActive(msg.sender)) revert UnauthorizedAccess(msg.sender, "the sender is not active");
        return accounts.getAccount(msg.sender).orgId;
    }

    function _existing(uint proposalId) private view returns (ProposalData storage) {
        if (proposalId == 0 || proposalId > proposals.length) revert ProposalNotFound(proposalId);
        return proposals[proposalId - 1];
    }

    /// @return place Place of the organisation among the participants.
    function _checkParticipant(ProposalData storage proposal, uint orgId) private view returns (uint place) {
        uint length = proposal.organizations.length;
        while (place < length && proposal.organizations[place] != orgId) ++place;
        if (place == length) revert UnauthorizedAccess(msg.sender, "the sender's organization does not take part");
    }

    function _checkCalls(address[] calldata targets, bytes[] memory calldatas) private view {
        if (targets.length != calldatas.length) revert InvalidArgument("there are not as many targets as data");
        if (targets.length == 0 || targets.length > CALLS_MAX) revert InvalidArgument("a proposal has 1 to 64 calls");
        uint total;
        for (uint i = 0; i < targets.length; ++i) {
            if (targets[i].code.length == 0) revert InvalidArgument("a target is no contract");
            total += calldatas[i].length;
        }
        if (total > CALLDATA_MAX) revert InvalidArgument("more than 65536 bytes of call data");
    }

    /// The organisation's proposals are decided, but for the last few.
    function _checkOpen(uint orgId) private view {
        uint[] storage own = _proposalsOf[orgId];
        if (own.length < OPEN_MAX) return;
        ProposalState state = stateOf(own[own.length - OPEN_MAX]);
        if (state == ProposalState.Open || state == ProposalState.Waiting || state == ProposalState.Executable) {
            revert IllegalState("the organization has too many open proposals");
        }
    }

    /// Last block in which a vote counts.
    function _deadline(ProposalData storage proposal) private view returns (uint) {
        uint duration = proposal.blocksDuration;
        return duration > type(uint).max - proposal.creationBlock ? type(uint).max : proposal.creationBlock + duration;
    }

    // ---- counting ----

    function _finish(ProposalData storage proposal) private {
        proposal.status = ProposalStatus.Finished;
        emit ProposalFinished(proposal.id);
    }

    /// Notes the result, once there is one.
    function _tally(ProposalData storage proposal) private {
        if (proposal.result != ProposalResult.Undefined) return;
        proposal.result = _count(proposal);
        if (proposal.result == ProposalResult.Approved) {
            _trails[proposal.id].approvalBlock = uint48(block.number);
            emit ProposalApproved(proposal.id);
        } else if (proposal.result == ProposalResult.Rejected) {
            emit ProposalRejected(proposal.id);
        }
    }

    /// The result of the votes of those participants that exist and may vote now.
    function _count(ProposalData storage proposal) private view returns (ProposalResult) {
        Organization.OrganizationData[] memory orgs = organizations.getOrganizations();
        (uint electorate, uint approvals, uint rejections) = (0, 0, 0);
        for (uint i = 0; i < proposal.organizations.length; ++i) {
            if (!_mayVote(orgs, proposal.organizations[i])) continue;
            ++electorate;
            ProposalVote vote = proposal.votes[i];
            if (vote == ProposalVote.Approval) ++approvals;
            else if (vote == ProposalVote.Rejection) ++rejections;
        }
        Charter.Rule storage rule = _rules[proposal.id];
        uint needed = _share(electorate, rule.thresholdNumerator, rule.thresholdDenominator);
        uint quorum = _share(electorate, rule.quorumNumerator, rule.quorumDenominator);
        if (approvals > electorate / 2 && approvals >= needed && approvals + rejections >= quorum) {
            return ProposalResult.Approved;
        }
        if (rejections > electorate / 2 || approvals + rejections == electorate) return ProposalResult.Rejected;
        return ProposalResult.Undefined;
    }

    /// A fraction of the electorate, rounded up.
    function _share(uint electorate, uint numerator, uint denominator) private pure returns (uint) {
        return (electorate * numerator + denominator - 1) / denominator;
    }

    function _mayVote(Organization.OrganizationData[] memory orgs, uint orgId) private pure returns (bool) {
        for (uint i = 0; i < orgs.length; ++i) {
            if (orgs[i].id == orgId) return orgs[i].canVote;
        }
        return false;
    }

    function _isPatron(uint orgId) private view returns (bool) {
        Organization.OrganizationData[] memory orgs = organizations.getOrganizations();
        for (uint i = 0; i < orgs.length; ++i) {
            if (orgs[i].id == orgId) return orgs[i].orgType == Organization.OrganizationType.Patron;
        }
        return false;
    }

    // ---- execution ----

    function _execute(ProposalData storage proposal) private returns (bytes[] memory returned) {
        bool governed = admins.isAuthorized(address(this));
        uint[] memory patrons;
        uint[] memory standings;
        if (_rules[proposal.id].patronConsent) (patrons, standings) = charter.patronStandings();
        returned = new bytes[](proposal.targets.length);
        for (uint i = 0; i < returned.length; ++i) {
            returned[i] = _call(proposal.targets[i], proposal.calldatas[i]);
        }
        charter.checkAfter(proposal.targets, proposal.calldatas, msg.sender, governed);
        for (uint i = 0; i < patrons.length; ++i) {
            if (charter.standingOf(patrons[i]) != standings[i]) _checkConsent(proposal, patrons[i]);
        }
    }

    function _call(address target, bytes storage data) private returns (bytes memory) {
        (bool done, bytes memory answer) = target.call(data);
        if (!done) {
            if (answer.length == 0) revert FailedCall();
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        if (answer.length == 0 && target.code.length == 0) revert AddressEmptyCode(target);
        return answer;
    }

    /// The patron has approved, or all other participants have (its keys may be lost).
    function _checkConsent(ProposalData storage proposal, uint patron) private view {
        bool others = true;
        for (uint i = 0; i < proposal.organizations.length; ++i) {
            bool approves = proposal.votes[i] == ProposalVote.Approval;
            if (proposal.organizations[i] == patron) {
                if (approves) return;
                if (proposal.votes[i] == ProposalVote.Rejection) revert PatronConsentMissing(patron);
            } else {
                others = others && approves;
            }
        }
        if (!others) revert PatronConsentMissing(patron);
    }
}
