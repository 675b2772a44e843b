// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// @title The organisations of the network.
/// @notice Functions, events and errors of RBB's second generation.
interface Organization {
    /// A Partner never votes; a Patron may hold a veto.
    enum OrganizationType {
        Partner,
        Associate,
        Patron
    }

    struct OrganizationData {
        /// From 1, never used twice.
        uint id;
        string cnpj;
        string name;
        OrganizationType orgType;
        bool canVote;
    }

    event OrganizationAdded(uint indexed orgId, string cnpj, string name, OrganizationType orgType, bool canVote);
    event OrganizationUpdated(uint indexed orgId, string cnpj, string name, OrganizationType orgType, bool canVote);
    event OrganizationDeleted(uint indexed orgId);

    error OrganizationNotFound(uint orgId);
    error InvalidArgument(string message);
    error IllegalState(string message);

    /// @notice Governance adds an organisation.
    /// @return Its number.
    function addOrganization(string calldata cnpj, string calldata name, OrganizationType orgType, bool canVote)
        external
        returns (uint);
    /// @notice Governance replaces all that is recorded about an organisation.
    function updateOrganization(
        uint orgId,
        string calldata cnpj,
        string calldata name,
        OrganizationType orgType,
        bool canVote
    ) external;
    /// @notice Governance removes an organisation. Its accounts and nodes stay recorded and have no effect any more.
    function deleteOrganization(uint orgId) external;

    /// @return Whether there is an organisation with this number.
    function isOrganizationActive(uint orgId) external view returns (bool);
    function getOrganization(uint orgId) external view returns (OrganizationData memory);
    function getOrganizations() external view returns (OrganizationData[] memory);
}
