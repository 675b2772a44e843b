// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {
    AccountRulesV2,
    DEPLOYER_ROLE,
    GLOBAL_ADMIN_ROLE,
    LOCAL_ADMIN_ROLE,
    RoleView,
    USER_ROLE
} from "./AccountRulesV2.sol";
import {AdminProxy} from "./AdminProxy.sol";
import {Governable} from "./Governable.sol";
import {Organization} from "./Organization.sol";
import {Pagination} from "./Pagination.sol";
import {Pausable} from "./Pausable.sol";
import {Recorded} from "./Recorded.sol";
import {Sets} from "./Sets.sol";
import {Signatures} from "./Signatures.sol";

/// @title Accounts of organisations, and which transactions they may send.
/// @notice Beyond the second generation: a role is what the record says and nothing else; both restriction lists hold at once
/// and for creations too; they end with the account; what governance cannot do without is never restricted; every change is
/// recorded with its author and reason; an account can prove that it knows of its registration.
contract AccountRulesV2Impl is AccountRulesV2, Pausable, Recorded {
    using Sets for Sets.Set;

    /// Longest list of targets or senders.
    uint public constant LIST_MAX = 64;
    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant ACKNOWLEDGEMENT_TYPE =
        keccak256("Acknowledgement(address account,uint256 orgId,bytes32 roleId,bytes32 dataHash)");
    bytes32 private constant REGISTRATION = keccak256("ipe registration 1");

    /// @notice Nobody's role: nobody gives or takes roles but by the functions of accounts.
    bytes32 public constant DEFAULT_ADMIN_ROLE = 0;

    /// A list of addresses that is replaced as a whole. What is on it is looked up by (round, address), so that neither a
    /// replacement nor a look-up walks it.
    struct List {
        address[] members;
        uint round;
        mapping(uint round => mapping(address member => bool)) has;
    }

    Organization public immutable organizations;
    mapping(address account => AccountData) public accounts;
    Sets.Set private _accounts;
    mapping(uint orgId => Sets.Set) private _accountsOf;
    /// @notice Global administrators of an organisation, suspended ones too.
    mapping(uint orgId => uint count) public globalAdminsCount;
    /// @notice Global administrators of an organisation that may act.
    mapping(uint orgId => uint count) public activeGlobalAdmins;
    /// @notice How often an organisation's global administrators have changed. Governance compares it before and after an
    /// execution.
    mapping(uint orgId => uint count) public adminChanges;
    Sets.Set private _restrictedAccounts;
    Sets.Set private _restrictedContracts;
    mapping(address account => List) private _targets;
    mapping(address smartContract => List) private _senders;
    /// @notice Contracts that may not be restricted, beside those that are known by themselves.
    mapping(address smartContract => bool) public neverRestricted;
    /// @notice Most accounts of an organisation, for organisation 0 of any that has no figure of its own; 0 is no limit.
    mapping(uint orgId => uint most) public accountQuota;
    /// Digest that an account has acknowledged last.
    mapping(address account => bytes32 digest) private _acknowledged;

    event NeverRestrictedUpdated(address indexed smartContract, bool never);
    event AccountQuotaUpdated(uint indexed orgId, uint most);
    event AccountAcknowledged(address indexed account, uint indexed orgId, bytes32 digest);

    error QuotaExceeded(uint orgId, uint most);
    error ListTooLong(uint length, uint most);

    /// @param orgs Organisations, not zero.
    /// @param accs At least two: the global administrators of organisations 1, 2 and so on, which exist.
    /// @param adminsProxy Contract that says who is governance.
    constructor(Organization orgs, address[] memory accs, AdminProxy adminsProxy) Governable(adminsProxy) {
        if (address(orgs) == address(0)) revert InvalidArgument("the Organization contract's address is zero");
        if (accs.length < 2) revert InvalidArgument("fewer than 2 accounts");
        organizations = orgs;
        for (uint i = 0; i < accs.length; ++i) {
            _checkNewAccount(accs[i]);
            if (!orgs.isOrganizationActive(i + 1)) revert InvalidOrganization(i + 1, "no such organization");
            _add(accs[i], i + 1, GLOBAL_ADMIN_ROLE, 0);
        }
    }

    // ---- administrators of organisations ----

    /// @inheritdoc AccountRulesV2
    function addLocalAccount(address account, bytes32 roleId, bytes32 dataHash) external {
        uint orgId = _checkAdmin();
        _checkNewAccount(account);
        _checkRole(roleId);
        _checkNotGlobal(roleId);
        _add(account, orgId, roleId, dataHash);
    }

    /// @inheritdoc AccountRulesV2
    function deleteLocalAccount(address account) external {
        _checkLocal(account);
        _delete(account);
    }

    /// @inheritdoc AccountRulesV2
    function updateLocalAccount(address account, bytes32 roleId, bytes32 dataHash) external {
        AccountData storage record = _checkLocal(account);
        _checkRole(roleId);
        _checkNotGlobal(roleId);
        _checkHash(roleId, dataHash);
        emit RoleRevoked(record.roleId, account, msg.sender);
        record.roleId = roleId;
        record.dataHash = dataHash;
        emit RoleGranted(roleId, account, msg.sender);
        emit AccountUpdated(account, record.orgId, roleId, dataHash);
        _note(account, Act.Updated);
    }

    /// @inheritdoc AccountRulesV2
    function updateLocalAccountStatus(address account, bool active) external {
        _setActive(_checkLocal(account), active);
    }

    /// @inheritdoc AccountRulesV2
    function setAccountTargetAccess(address account, bool restricted, address[] calldata allowedTargets) external {
        _checkLocal(account);
        if (restricted == (allowedTargets.length == 0)) {
            revert InvalidArgument(restricted ? "a restriction names at least 1 target" : "targets without a restriction");
        }
        if (restricted) {
            _restrictedAccounts.add(Sets.word(account));
            _replace(_targets[account], allowedTargets);
        } else {
            _lift(account);
        }
        emit AccountTargetAccessUpdated(account, restricted, allowedTargets);
        _note(account, restricted ? Act.Restricted : Act.Released);
    }

    /// @notice A global administrator suspends itself, for instance because its key is known to somebody else. Another one
    /// of the organisation has to be left; governance can do it without that and undoes it.
    function suspendSelf() external {
        AccountData storage record = accounts[msg.sender];
        _checkAdmin();
        if (record.roleId == GLOBAL_ADMIN_ROLE && activeGlobalAdmins[record.orgId] < 2) {
            revert IllegalState("no other global administrator of the organization may act");
        }
        _setActive(record, false);
    }

    // ---- governance ----

    /// @inheritdoc AccountRulesV2
    function addAccount(address account, uint orgId, bytes32 roleId, bytes32 dataHash) external onlyGovernance {
        _checkNewAccount(account);
        if (!organizations.isOrganizationActive(orgId)) revert InvalidOrganization(orgId, "no such organization");
        _checkRole(roleId);
        _add(account, orgId, roleId, dataHash);
    }

    /// @inheritdoc AccountRulesV2
    function deleteAccount(address account) external onlyGovernance {
        AccountData storage record = _existing(account);
        if (
            record.roleId == GLOBAL_ADMIN_ROLE && globalAdminsCount[record.orgId] < 2
                && organizations.isOrganizationActive(record.orgId)
        ) revert IllegalState("an organization keeps at least 1 global administrator");
        _delete(account);
    }

    /// @notice Governance suspends any account or lets it act again.
    function updateAccountStatus(address account, bool active) external onlyGovernance {
        _setActive(_existing(account), active);
    }

    /// @inheritdoc AccountRulesV2
    function setSmartContractSenderAccess(address smartContract, bool restricted, address[] calldata allowedSenders)
        external
        onlyGovernance
    {
        if (smartContract == address(0)) revert InvalidAccount(smartContract, "zero is no contract");
        if (restricted) {
            if (isNeverRestricted(smartContract)) {
                revert InvalidAccount(smartContract, "governance cannot do without this contract");
            }
            _restrictedContracts.add(Sets.word(smartContract));
            _replace(_senders[smartContract], allowedSenders);
        } else {
            _restrictedContracts.remove(Sets.word(smartContract));
            _clear(_senders[smartContract]);
        }
        emit SmartContractSenderAccessUpdated(smartContract, restricted, allowedSenders);
        _record(Sets.word(smartContract), restricted ? Act.Restricted : Act.Released, 0);
    }

    /// @notice Governance says which contracts (ingresses, node rules, validator selection) may never be restricted.
    function setNeverRestricted(address smartContract, bool never) external onlyGovernance {
        if (never && _restrictedContracts.contains(Sets.word(smartContract))) {
            revert InvalidAccount(smartContract, "lift its restriction first");
        }
        neverRestricted[smartContract] = never;
        emit NeverRestrictedUpdated(smartContract, never);
    }

    /// @notice Governance limits how many accounts an organisation has.
    /// @param orgId 0 for all that have no figure of their own.
    /// @param most 0 for no limit.
    function setAccountQuota(uint orgId, uint most) external onlyGovernance {
        accountQuota[orgId] = most;
        emit AccountQuotaUpdated(orgId, most);
    }

    // ---- roles, as AccessControl shows them ----

    /// @inheritdoc RoleView
    function hasRole(bytes32 role, address account) public view returns (bool) {
        return role != 0 && accounts[account].roleId == role;
    }

    /// @inheritdoc RoleView
    function getRoleAdmin(bytes32) external pure returns (bytes32) {
        return DEFAULT_ADMIN_ROLE;
    }

    /// @notice Refused for everybody.
    function grantRole(bytes32, address) external view {
        revert AccessControlUnauthorizedAccount(msg.sender, DEFAULT_ADMIN_ROLE);
    }

    /// @notice Refused for everybody.
    function revokeRole(bytes32, address) external view {
        revert AccessControlUnauthorizedAccount(msg.sender, DEFAULT_ADMIN_ROLE);
    }

    /// @notice Refused for everybody: an administrator that gives up its role would still be counted as one.
    function renounceRole(bytes32, address callerConfirmation) external view {
        if (callerConfirmation != msg.sender) revert AccessControlBadConfirmation();
        revert AccessControlUnauthorizedAccount(msg.sender, DEFAULT_ADMIN_ROLE);
    }

    /// @return Whether it is a role that an account may have.
    function validRoles(bytes32 roleId) public pure returns (bool) {
        return roleId == GLOBAL_ADMIN_ROLE || roleId == LOCAL_ADMIN_ROLE || roleId == DEPLOYER_ROLE || roleId == USER_ROLE;
    }

    /// @notice ERC-165.
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == 0x01ffc9a7 || interfaceId == type(RoleView).interfaceId;
    }

    // ---- acknowledgement ----

    /// @notice The digest to put on chain for a registration that is kept off chain.
    /// @param recordHash Keccak-256 of the canonical JSON of the record and its salt.
    function registrationDigest(address account, uint orgId, bytes32 recordHash) external view returns (bytes32) {
        return keccak256(abi.encode(REGISTRATION, block.chainid, account, orgId, recordHash));
    }

    /// @notice What an account signs (EIP-712) to say that it knows its registration as it is now.
    function acknowledgementDigest(address account) public view returns (bytes32) {
        AccountData storage record = _existing(account);
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPE, keccak256("AccountRulesV2"), keccak256("1"), block.chainid, address(this))
        );
        bytes32 content =
            keccak256(abi.encode(ACKNOWLEDGEMENT_TYPE, account, record.orgId, record.roleId, record.dataHash));
        return keccak256(abi.encodePacked(hex"1901", domain, content));
    }

    /// @notice The caller says that it knows its registration.
    function acknowledge() external {
        _acknowledge(msg.sender);
    }

    /// @notice Anybody hands in what the account has signed.
    function acknowledgeFor(address account, bytes calldata signature) external {
        if (Signatures.signer(acknowledgementDigest(account), signature) != account) {
            revert InvalidArgument("not signed by the account, or not for its present registration");
        }
        _acknowledge(account);
    }

    /// @return Whether the account has acknowledged its registration as it is now.
    function isAcknowledged(address account) external view returns (bool) {
        return accounts[account].account != address(0) && _acknowledged[account] == acknowledgementDigest(account);
    }

    // ---- what anybody may ask ----

    /// @inheritdoc AccountRulesV2
    function isAccountActive(address account) public view returns (bool) {
        AccountData storage record = accounts[account];
        return record.active && organizations.isOrganizationActive(record.orgId);
    }

    /// @inheritdoc AccountRulesV2
    function getAccount(address account) external view returns (AccountData memory) {
        return _existing(account);
    }

    /// @inheritdoc AccountRulesV2
    function getNumberOfAccounts() external view returns (uint) {
        return _accounts.length();
    }

    /// @inheritdoc AccountRulesV2
    function getAccounts(uint pageNumber, uint pageSize) external view returns (AccountData[] memory) {
        return _page(_accounts, pageNumber, pageSize);
    }

    /// @inheritdoc AccountRulesV2
    function getNumberOfAccountsByOrg(uint orgId) external view returns (uint) {
        return _accountsOf[orgId].length();
    }

    /// @inheritdoc AccountRulesV2
    function getAccountsByOrg(uint orgId, uint pageNumber, uint pageSize) external view returns (AccountData[] memory) {
        return _page(_accountsOf[orgId], pageNumber, pageSize);
    }

    /// @inheritdoc AccountRulesV2
    function getAccountTargetAccess(address account) external view returns (bool restricted, address[] memory) {
        return (_restrictedAccounts.contains(Sets.word(account)), _targets[account].members);
    }

    /// @inheritdoc AccountRulesV2
    function getNumberOfRestrictedAccounts() external view returns (uint) {
        return _restrictedAccounts.length();
    }

    /// @inheritdoc AccountRulesV2
    function getRestrictedAccounts(uint pageNumber, uint pageSize) external view returns (address[] memory) {
        return Pagination.getAddressPage(_restrictedAccounts, pageNumber, pageSize);
    }

    /// @inheritdoc AccountRulesV2
    function getSmartContractSenderAccess(address smartContract)
        external
        view
        returns (bool restricted, address[] memory)
    {
        return (_restrictedContracts.contains(Sets.word(smartContract)), _senders[smartContract].members);
    }

    /// @inheritdoc AccountRulesV2
    function getNumberOfRestrictedSmartContracts() external view returns (uint) {
        return _restrictedContracts.length();
    }

    /// @inheritdoc AccountRulesV2
    function getRestrictedSmartContracts(uint pageNumber, uint pageSize) external view returns (address[] memory) {
        return Pagination.getAddressPage(_restrictedContracts, pageNumber, pageSize);
    }

    /// @notice One element of an account's list of targets.
    function restrictedAccountsAllowedTargets(address account, uint index) external view returns (address) {
        return _targets[account].members[index];
    }

    /// @notice One element of a contract's list of senders.
    function restrictedSmartContractsAllowedSenders(address smartContract, uint index) external view returns (address) {
        return _senders[smartContract].members[index];
    }

    /// @return Whether a restriction of this contract is refused: governance could not be reached any more.
    function isNeverRestricted(address smartContract) public view returns (bool) {
        return smartContract == address(this) || smartContract == address(admins) || smartContract == address(organizations)
            || neverRestricted[smartContract] || admins.isAuthorized(smartContract);
    }

    /// @notice Answers nodes: see AccountRulesProxy. Both lists hold; a creation is a call of the zero address.
    function transactionAllowed(address sender, address target, uint256, uint256, uint256, bytes calldata)
        external
        view
        returns (bool)
    {
        if (!isAccountActive(sender)) return false;
        if (target == address(0) && hasRole(USER_ROLE, sender)) return false;
        if (_restrictedAccounts.contains(Sets.word(sender)) && !_isOn(_targets[sender], target)) return false;
        return !_restrictedContracts.contains(Sets.word(target)) || _isOn(_senders[target], sender);
    }

    // ---- checks ----

    /// The caller is an administrator that may act, and local changes are not paused.
    /// @return Its organisation.
    function _checkAdmin() private view returns (uint) {
        AccountData storage caller = accounts[msg.sender];
        if (caller.roleId != GLOBAL_ADMIN_ROLE && caller.roleId != LOCAL_ADMIN_ROLE) {
            revert UnauthorizedAccess(msg.sender);
        }
        if (!isAccountActive(msg.sender)) revert InactiveAccount(msg.sender, "the account or its organization is not active");
        _checkNotPaused();
        return caller.orgId;
    }

    /// The caller is an administrator of the account's organisation, the account is no global administrator.
    function _checkLocal(address account) private view returns (AccountData storage record) {
        uint orgId = _checkAdmin();
        record = _existing(account);
        if (record.orgId != orgId) revert NotLocalAccount(account);
        _checkNotGlobal(record.roleId);
    }

    function _existing(address account) private view returns (AccountData storage record) {
        record = accounts[account];
        if (record.account == address(0)) revert AccountNotFound(account);
    }

    function _checkNewAccount(address account) private view {
        if (account == address(0)) revert InvalidAccount(account, "zero is no account");
        if (accounts[account].account != address(0)) revert DuplicateAccount(account);
    }

    function _checkRole(bytes32 roleId) private pure {
        if (!validRoles(roleId)) revert InvalidRole(roleId, "unknown role");
    }

    function _checkNotGlobal(bytes32 roleId) private pure {
        if (roleId == GLOBAL_ADMIN_ROLE) revert InvalidRole(roleId, "a matter of governance: global administrator");
    }

    function _checkHash(bytes32 roleId, bytes32 dataHash) private pure {
        if (dataHash == 0 && roleId != GLOBAL_ADMIN_ROLE && roleId != LOCAL_ADMIN_ROLE) {
            revert InvalidHash(dataHash, "the registration's digest is zero");
        }
    }

    // ---- changes ----

    function _add(address account, uint orgId, bytes32 roleId, bytes32 dataHash) private {
        _checkHash(roleId, dataHash);
        uint most = accountQuota[orgId] == 0 ? accountQuota[0] : accountQuota[orgId];
        if (most != 0 && _accountsOf[orgId].length() >= most) revert QuotaExceeded(orgId, most);
        accounts[account] = AccountData(orgId, account, roleId, dataHash, true);
        assert(_accounts.add(Sets.word(account)));
        assert(_accountsOf[orgId].add(Sets.word(account)));
        if (roleId == GLOBAL_ADMIN_ROLE) {
            ++globalAdminsCount[orgId];
            ++activeGlobalAdmins[orgId];
            ++adminChanges[orgId];
        }
        emit RoleGranted(roleId, account, msg.sender);
        emit AccountAdded(account, orgId, roleId, dataHash);
        _note(account, Act.Added);
    }

    function _delete(address account) private {
        AccountData memory record = accounts[account];
        uint actorOrgId = accounts[msg.sender].orgId;
        delete accounts[account];
        assert(_accounts.remove(Sets.word(account)));
        assert(_accountsOf[record.orgId].remove(Sets.word(account)));
        if (record.roleId == GLOBAL_ADMIN_ROLE) {
            --globalAdminsCount[record.orgId];
            if (record.active) --activeGlobalAdmins[record.orgId];
            ++adminChanges[record.orgId];
        }
        _lift(account);
        delete _acknowledged[account];
        emit RoleRevoked(record.roleId, account, msg.sender);
        emit AccountDeleted(account, record.orgId);
        _record(Sets.word(account), Act.Deleted, actorOrgId);
    }

    function _setActive(AccountData storage record, bool active) private {
        if (record.roleId == GLOBAL_ADMIN_ROLE && record.active != active) {
            if (active) ++activeGlobalAdmins[record.orgId];
            else --activeGlobalAdmins[record.orgId];
            ++adminChanges[record.orgId];
        }
        record.active = active;
        emit AccountStatusUpdated(record.account, record.orgId, active);
        _note(record.account, active ? Act.Activated : Act.Deactivated);
    }

    function _lift(address account) private {
        if (_restrictedAccounts.remove(Sets.word(account))) _clear(_targets[account]);
    }

    function _acknowledge(address account) private {
        bytes32 digest = acknowledgementDigest(account);
        _acknowledged[account] = digest;
        emit AccountAcknowledged(account, accounts[account].orgId, digest);
        _note(account, Act.Acknowledged);
    }

    /// Records an act of the caller on an account.
    function _note(address account, Act act) private {
        _record(Sets.word(account), act, accounts[msg.sender].orgId);
    }

    function _replace(List storage list, address[] calldata members) private {
        if (members.length > LIST_MAX) revert ListTooLong(members.length, LIST_MAX);
        list.members = members;
        uint round = ++list.round;
        for (uint i = 0; i < members.length; ++i) {
            list.has[round][members[i]] = true;
        }
    }

    function _clear(List storage list) private {
        delete list.members;
        ++list.round;
    }

    function _isOn(List storage list, address member) private view returns (bool) {
        return list.has[list.round][member];
    }

    function _page(Sets.Set storage set, uint pageNumber, uint pageSize) private view returns (AccountData[] memory page) {
        bytes32[] memory words = Pagination.getPage(set, pageNumber, pageSize);
        page = new AccountData[](words.length);
        for (uint i = 0; i < page.length; ++i) {
            page[i] = accounts[Sets.unword(words[i])];
        }
    }
}
