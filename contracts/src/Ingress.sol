// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AdminProxy} from "./AdminProxy.sol";
import {Sets} from "./Sets.sol";

/// @title The fixed address that nodes ask, and the contracts behind it.
/// @notice Functions and events of the first generation. Beyond it: nobody is authorised while there is no administration;
/// "administration" and "rules" are replaced but never removed; what replaces them has to be a contract that answers.
abstract contract Ingress {
    using Sets for Sets.Set;

    bytes32 public constant RULES_CONTRACT = "rules";
    bytes32 public constant ADMIN_CONTRACT = "administration";

    mapping(bytes32 name => address) private _registry;
    Sets.Set private _names;

    event RegistryUpdated(address contractAddress, bytes32 contractName);

    modifier onlyAuthorized() {
        require(isAuthorized(msg.sender), "the sender is not authorized");
        _;
    }

    modifier notEmpty(bytes32 name) {
        require(name != 0, "the name is empty");
        _;
    }

    /// @param administration Contract that says who may change this one. Who deploys sets it in the same transaction, so there
    /// is no block in which a stranger could.
    constructor(AdminProxy administration) {
        require(address(administration).code.length != 0, "the administration is no contract");
        _set(ADMIN_CONTRACT, address(administration));
    }

    /// @return Contract behind a name, zero if there is none.
    function getContractAddress(bytes32 name) public view notEmpty(name) returns (address) {
        return _registry[name];
    }

    function getSize() external view returns (uint) {
        return _names.length();
    }

    function getAllContractKeys() external view returns (bytes32[] memory) {
        return _names.values;
    }

    /// @return Always 1000000, as in the first generation.
    function getContractVersion() external pure returns (uint) {
        return 1_000_000;
    }

    /// @return Whether the administration says so; nobody is authorised without one.
    function isAuthorized(address account) public view returns (bool) {
        address administration = _registry[ADMIN_CONTRACT];
        return administration != address(0) && AdminProxy(administration).isAuthorized(account);
    }

    /// @notice Registers a contract, or replaces it.
    /// @return Always true.
    function setContractAddress(bytes32 name, address target) external notEmpty(name) onlyAuthorized returns (bool) {
        require(target.code.length != 0, "the target is no contract");
        if (name == ADMIN_CONTRACT) {
            require(AdminProxy(target).isAuthorized(msg.sender), "the new administration would not obey the sender");
            require(!AdminProxy(target).isAuthorized(address(1)), "the new administration would obey anybody");
        }
        if (name == RULES_CONTRACT) _checkRules(target);
        _set(name, target);
        return true;
    }

    /// @return Whether the name was registered.
    function removeContract(bytes32 name) external notEmpty(name) onlyAuthorized returns (bool) {
        require(name != ADMIN_CONTRACT && name != RULES_CONTRACT, "replace it instead: without it everything is open");
        if (!_names.remove(name)) return false;
        delete _registry[name];
        emit RegistryUpdated(address(0), name);
        return true;
    }

    /// Reverts unless the rules answer in form.
    function _checkRules(address rules) internal view virtual;

    function _set(bytes32 name, address target) private {
        _names.add(name);
        _registry[name] = target;
        emit RegistryUpdated(target, name);
    }
}
