// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AccountRulesV2} from "./AccountRulesV2.sol";
import {AdminProxy} from "./AdminProxy.sol";
import {Kinds} from "./Kinds.sol";
import {Organization} from "./Organization.sol";
import {Probes} from "./Probes.sol";

/// @title What governance has decided about its own decisions, and what no decision may do.
/// @notice Made by the governance contract that it serves. One rule per kind of decision. The defaults are the second generation's: more than half of the participants, no
/// quorum, no delay, no veto; only that an approval does not last for ever. Changed by executed proposals alone. A proposal
/// keeps the rule under which it was made.
contract Charter {
    /// What a proposal is about; the gravest of its calls counts.
    enum Kind {
        /// Users, deployers, local administrators, nodes, restrictions.
        Ordinary,
        /// Organisations and global administrators.
        Membership,
        /// Calls that governance has declared to be about validators.
        Validators,
        /// Governance itself, its authority, the ingresses, and everything that is not known.
        Constitution
    }

    struct Rule {
        /// Approvals needed: this fraction of the electorate, rounded up, and in any case more than half of it.
        uint16 thresholdNumerator;
        uint16 thresholdDenominator;
        /// Votes needed for an approval: this fraction of the electorate, rounded up.
        uint16 quorumNumerator;
        uint16 quorumDenominator;
        /// Blocks between approval and execution.
        uint32 delayBlocks;
        /// Blocks in which a patron may veto after the approval; 0: there is no veto. At most the delay.
        uint32 vetoBlocks;
        /// Blocks in which an approved proposal can be executed, after the later of deadline and delay.
        uint32 executionBlocks;
        /// Whether what a patron's veto rests on changes only with that patron's approval, or everybody else's.
        bool patronConsent;
        /// Whether an approved proposal cannot be cancelled.
        bool approvedStands;
    }

    event RuleUpdated(Kind indexed kind, Rule rule);
    event DurationBoundsUpdated(uint least, uint most);
    event KindUpdated(address indexed target, bytes4 indexed selector, Kind kind);
    event ProtectedIngressesUpdated(address[] ingresses);

    error InvalidArgument(string message);
    error OnlyByProposal(address account);
    error AuthorityWouldBeLost();

    /// Bounds of what may be set, in blocks of 4 seconds: 30 days, and 7 hours.
    uint public constant DELAY_MAX = 648_000;
    uint public constant EXECUTION_MIN = 6_300;
    uint public constant INGRESSES_MAX = 8;

    /// @notice Governance contract whose charter this is.
    address public immutable governance;
    AdminProxy public immutable admins;
    Organization public immutable organizations;
    AccountRulesV2 public immutable accounts;

    /// @notice The rule for new proposals of a kind.
    mapping(Kind => Rule) public rules;
    /// @notice Least and most blocks in which votes count.
    uint public durationMin = 1;
    uint public durationMax = type(uint).max;
    /// @notice Ingresses that are probed at the end of every execution.
    address[] public ingresses;
    /// Kind plus 1 of a call, where governance has declared it.
    mapping(address target => mapping(bytes4 selector => uint8)) private _declared;

    modifier onlyByProposal() {
        if (msg.sender != governance) revert OnlyByProposal(msg.sender);
        _;
    }

    constructor(Organization orgs, AccountRulesV2 accs, AdminProxy adminsProxy) {
        governance = msg.sender;
        organizations = orgs;
        accounts = accs;
        admins = adminsProxy;
        Rule memory rule = Rule({
            thresholdNumerator: 1,
            thresholdDenominator: 2,
            quorumNumerator: 0,
            quorumDenominator: 1,
            delayBlocks: 0,
            vetoBlocks: 0,
            executionBlocks: 302_400,
            patronConsent: false,
            approvedStands: false
        });
        rules[Kind.Ordinary] = rule;
        rules[Kind.Membership] = rule;
        rules[Kind.Validators] = rule;
        rules[Kind.Constitution] = rule;
    }

    /// @notice Sets the rule for new proposals of a kind.
    function setRule(Kind kind, Rule calldata rule) external onlyByProposal {
        if (
            rule.thresholdNumerator > rule.thresholdDenominator
                || uint(rule.thresholdNumerator) * 2 < rule.thresholdDenominator || rule.thresholdDenominator == 0
        ) revert InvalidArgument("a threshold is between 1/2 and 1");
        if (rule.quorumNumerator > rule.quorumDenominator || rule.quorumDenominator == 0) {
            revert InvalidArgument("a quorum is between 0 and 1");
        }
        if (rule.delayBlocks > DELAY_MAX) revert InvalidArgument("a delay is at most 648000 blocks");
        if (rule.vetoBlocks > rule.delayBlocks) revert InvalidArgument("a veto ends with the delay");
        if (rule.executionBlocks < EXECUTION_MIN) revert InvalidArgument("there are at least 6300 blocks to execute");
        rules[kind] = rule;
        emit RuleUpdated(kind, rule);
    }

    /// @notice Sets the bounds for the duration of new proposals, in blocks.
    function setDurationBounds(uint least, uint most) external onlyByProposal {
        if (least == 0 || least > DELAY_MAX || most < EXECUTION_MIN || least > most) {
            revert InvalidArgument("the least is 1 to 648000 blocks, the most 6300 or more");
        }
        (durationMin, durationMax) = (least, most);
        emit DurationBoundsUpdated(least, most);
    }

    /// @notice Declares of which kind a call is. Governance's own functions stay what they are.
    function setKind(address target, bytes4 selector, Kind kind) external onlyByProposal {
        if (target == governance || target == address(this)) revert InvalidArgument("governance's own functions are of the gravest kind");
        _declared[target][selector] = uint8(kind) + 1;
        emit KindUpdated(target, selector, kind);
    }

    /// @notice Names the ingresses that every execution, this one first, has to leave in order.
    function setProtectedIngresses(address[] calldata newIngresses) external onlyByProposal {
        if (newIngresses.length > INGRESSES_MAX) revert InvalidArgument("at most 8 ingresses");
        ingresses = newIngresses;
        emit ProtectedIngressesUpdated(newIngresses);
    }

    /// @notice The rule for a proposal of these calls and this duration.
    function ruleFor(address[] calldata targets, bytes[] calldata calldatas, uint blocksDuration)
        external
        view
        returns (Kind kind, Rule memory rule)
    {
        if (blocksDuration < durationMin || blocksDuration > durationMax) {
            revert InvalidArgument("the duration is out of bounds");
        }
        kind = kindOf(targets, calldatas);
        rule = rules[kind];
    }

    /// @return kind The gravest kind among the calls, as things are now.
    function kindOf(address[] calldata targets, bytes[] calldata calldatas) public view returns (Kind kind) {
        for (uint i = 0; i < targets.length; ++i) {
            Kind one = _kindOf(targets[i], calldatas[i]);
            if (one > kind) kind = one;
        }
    }

    /// @notice The patrons, and how often what their veto rests on has changed.
    function patronStandings() external view returns (uint[] memory patrons, uint[] memory standings) {
        Organization.OrganizationData[] memory orgs = organizations.getOrganizations();
        uint count;
        for (uint i = 0; i < orgs.length; ++i) {
            if (orgs[i].orgType == Organization.OrganizationType.Patron) ++count;
        }
        (patrons, standings) = (new uint[](count), new uint[](count));
        for (uint i = orgs.length; i > 0; --i) {
            if (orgs[i - 1].orgType != Organization.OrganizationType.Patron) continue;
            patrons[--count] = orgs[i - 1].id;
            standings[count] = standingOf(orgs[i - 1].id);
        }
    }

    /// @return How often an organisation's existence, kind, right to vote and global administrators have changed.
    function standingOf(uint orgId) public view returns (uint) {
        return Probes.standing(address(organizations), address(accounts), orgId);
    }

    /// @notice Reverts unless the calls have left everything in order: the ingresses that they repointed and those that are
    /// protected, the authority of governance, the electorate.
    /// @param executor Account that executes.
    /// @param governed Whether governance had authority before.
    function checkAfter(address[] calldata targets, bytes[] calldata calldatas, address executor, bool governed) external view {
        for (uint i = 0; i < targets.length; ++i) {
            if (Probes.repoints(calldatas[i])) Probes.checkIngress(targets[i], governance, executor);
        }
        for (uint i = 0; i < ingresses.length; ++i) {
            Probes.checkIngress(ingresses[i], governance, executor);
        }
        if (governed && !admins.isAuthorized(governance)) revert AuthorityWouldBeLost();
        Probes.checkElectorate(organizations, address(accounts));
    }

    function _kindOf(address target, bytes calldata data) private view returns (Kind) {
        bytes4 selector = Kinds.selectorOf(data);
        uint8 declared = _declared[target][selector];
        if (declared != 0) return Kind(declared - 1);
        if (target == address(organizations)) return Kind.Membership;
        if (target == address(accounts)) {
            if (Kinds.isAboutGlobalAdmin(accounts, selector, data)) return Kind.Membership;
            return Kinds.isOrdinaryOfAccounts(selector) ? Kind.Ordinary : Kind.Constitution;
        }
        if (target == governance || target == address(this)) {
            return Kinds.isCancel(selector) ? Kind.Ordinary : Kind.Constitution;
        }
        return Kinds.isOrdinaryOfNodes(selector) ? Kind.Ordinary : Kind.Constitution;
    }
}
