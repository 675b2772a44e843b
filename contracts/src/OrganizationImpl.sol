// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AdminProxy} from "./AdminProxy.sol";
import {Governable} from "./Governable.sol";
import {Organization} from "./Organization.sol";
import {Sets} from "./Sets.sol";

/// @title Organisations, changed by governance alone.
/// @notice Beyond the second generation: no two organisations share a CNPJ or a name, and there is always somebody who may vote.
contract OrganizationImpl is Organization, Governable {
    using Sets for Sets.Set;

    /// @notice Number given last.
    uint public idSeed;
    mapping(uint orgId => OrganizationData) public organizations;
    Sets.Set private _ids;
    /// @notice How many organisations may vote; never 0.
    uint public numberOfVoters;
    /// Organisation by the hash of its CNPJ without punctuation, and by the hash of its name.
    mapping(bytes32 key => uint orgId) private _byCnpj;
    mapping(bytes32 key => uint orgId) private _byName;
    /// @notice How often an organisation's existence, kind or right to vote has changed. Governance compares it before and
    /// after an execution, so that nothing a patron's veto rests on is changed around that patron.
    mapping(uint orgId => uint count) public standingChanges;

    /// @param orgs At least two, one of them with the right to vote; their `id` is ignored, they are numbered by position.
    constructor(OrganizationData[] memory orgs, AdminProxy adminsProxy) Governable(adminsProxy) {
        require(orgs.length >= 2, "fewer than 2 organizations");
        for (uint i = 0; i < orgs.length; ++i) {
            _add(orgs[i].cnpj, orgs[i].name, orgs[i].orgType, orgs[i].canVote);
        }
        _checkVoters();
    }

    /// @inheritdoc Organization
    function addOrganization(string calldata cnpj, string calldata name, OrganizationType orgType, bool canVote)
        external
        onlyGovernance
        returns (uint)
    {
        return _add(cnpj, name, orgType, canVote);
    }

    /// @inheritdoc Organization
    function updateOrganization(
        uint orgId,
        string calldata cnpj,
        string calldata name,
        OrganizationType orgType,
        bool canVote
    ) external onlyGovernance {
        OrganizationData storage org = _existing(orgId);
        _checkFields(cnpj, name, orgType, canVote);
        _release(org);
        if (org.orgType != orgType || org.canVote != canVote) ++standingChanges[orgId];
        if (org.canVote != canVote) numberOfVoters = canVote ? numberOfVoters + 1 : numberOfVoters - 1;
        org.cnpj = cnpj;
        org.name = name;
        org.orgType = orgType;
        org.canVote = canVote;
        _claim(orgId, cnpj, name);
        _checkVoters();
        emit OrganizationUpdated(orgId, cnpj, name, orgType, canVote);
    }

    /// @inheritdoc Organization
    function deleteOrganization(uint orgId) external onlyGovernance {
        OrganizationData storage org = _existing(orgId);
        if (_ids.length() < 3) revert IllegalState("2 organizations have to stay");
        _release(org);
        if (org.canVote) --numberOfVoters;
        delete organizations[orgId];
        ++standingChanges[orgId];
        assert(_ids.remove(bytes32(orgId)));
        _checkVoters();
        emit OrganizationDeleted(orgId);
    }

    /// @inheritdoc Organization
    function isOrganizationActive(uint orgId) external view returns (bool) {
        return organizations[orgId].id != 0;
    }

    /// @inheritdoc Organization
    function getOrganization(uint orgId) external view returns (OrganizationData memory) {
        return _existing(orgId);
    }

    /// @inheritdoc Organization
    function getOrganizations() external view returns (OrganizationData[] memory orgs) {
        orgs = new OrganizationData[](_ids.length());
        for (uint i = 0; i < orgs.length; ++i) {
            orgs[i] = organizations[uint(_ids.values[i])];
        }
    }

    /// @return ids Numbers of all organisations.
    function organizationIds() external view returns (uint[] memory ids) {
        ids = new uint[](_ids.length());
        for (uint i = 0; i < ids.length; ++i) {
            ids[i] = uint(_ids.values[i]);
        }
    }

    /// @param cnpj Punctuation does not matter.
    /// @return The organisation with this CNPJ, 0 if there is none.
    function organizationByCnpj(string calldata cnpj) external view returns (uint) {
        return _byCnpj[_cnpjKey(cnpj)];
    }

    function _add(string memory cnpj, string memory name, OrganizationType orgType, bool canVote) private returns (uint orgId) {
        _checkFields(cnpj, name, orgType, canVote);
        orgId = ++idSeed;
        organizations[orgId] = OrganizationData(orgId, cnpj, name, orgType, canVote);
        assert(_ids.add(bytes32(orgId)));
        _claim(orgId, cnpj, name);
        if (canVote) ++numberOfVoters;
        ++standingChanges[orgId];
        emit OrganizationAdded(orgId, cnpj, name, orgType, canVote);
    }

    function _existing(uint orgId) private view returns (OrganizationData storage org) {
        org = organizations[orgId];
        if (org.id == 0) revert OrganizationNotFound(orgId);
    }

    function _checkFields(string memory cnpj, string memory name, OrganizationType orgType, bool canVote) private pure {
        if (bytes(cnpj).length == 0) revert InvalidArgument("the CNPJ is empty");
        if (bytes(name).length == 0) revert InvalidArgument("the name is empty");
        if (canVote && orgType == OrganizationType.Partner) revert InvalidArgument("a partner does not vote");
    }

    function _checkVoters() private view {
        if (numberOfVoters == 0) revert IllegalState("nobody would be left to vote");
    }

    function _claim(uint orgId, string memory cnpj, string memory name) private {
        bytes32 key = _cnpjKey(cnpj);
        if (_byCnpj[key] != 0) revert InvalidArgument("another organization has this CNPJ");
        _byCnpj[key] = orgId;
        key = keccak256(bytes(name));
        if (_byName[key] != 0) revert InvalidArgument("another organization has this name");
        _byName[key] = orgId;
    }

    function _release(OrganizationData storage org) private {
        delete _byCnpj[_cnpjKey(org.cnpj)];
        delete _byName[keccak256(bytes(org.name))];
    }

    /// Hash of the letters and digits, letters in upper case; of the text as it is when it has none.
    function _cnpjKey(string memory cnpj) private pure returns (bytes32) {
        bytes memory given = bytes(cnpj);
        bytes memory kept = new bytes(given.length);
        uint length = 0;
        for (uint i = 0; i < given.length; ++i) {
            uint8 c = uint8(given[i]);
            if (c >= 0x61 && c <= 0x7a) c -= 0x20;
            if ((c >= 0x30 && c <= 0x39) || (c >= 0x41 && c <= 0x5a)) kept[length++] = bytes1(c);
        }
        if (length == 0) return keccak256(given);
        assembly ("memory-safe") {
            mstore(kept, length)
        }
        return keccak256(kept);
    }
}
