// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {AdminProxy} from "./AdminProxy.sol";

/// @title What nodes ask for the set of validators.
interface ValidatorSet {
    function getValidators() external view returns (address[] memory);
}

/// @title The fixed address that nodes ask for the validators of the next block.
/// @notice Functions, events and errors of RBB's design of 2026. Beyond it: where the selection does not answer well, the last
/// good set that was kept answers, never a single proposer; governance cannot lose this contract.
contract ValidatorSelectionIngress is ValidatorSet {
    /// Gas for the selection's answer: the same for every node, whatever it allows a call.
    uint public constant SELECTION_GAS = 5_000_000;
    /// Most validators, and the least that a set may shrink to (fewer if it never had so many).
    uint public constant VALIDATORS_MAX = 100;
    uint public constant VALIDATORS_MIN = 4;

    AdminProxy public admins;
    address public validatorSelectionContract;
    address[] private _lastGood;
    /// @notice Block in which the last good set was kept.
    uint public lastGoodBlock;

    event ValidatorSelectionContractUpdated(address indexed oldContract, address indexed newContract);
    event ValidatorSelectionContractRemoved(address indexed oldContract);
    event AdminContractUpdated(address indexed oldContract, address indexed newContract);
    event LastGoodSetKept(address[] validators);
    /// The selection does not answer well: the last good set is in force.
    event LastGoodSetInForce(address indexed selection);

    error UnauthorizedAccess(address account);
    error InvalidAddress();
    error SameAddress(address account);
    error InvalidValidatorSelectionContract(address account);
    error InvalidAdminContract(address account);

    modifier onlyGovernance() {
        if (!admins.isAuthorized(msg.sender)) revert UnauthorizedAccess(msg.sender);
        _;
    }

    /// @param admin Contract that says who is governance.
    /// @param selection Selection of validators, which answers well.
    constructor(address admin, address selection) {
        if (admin.code.length == 0) revert InvalidAdminContract(admin);
        AdminProxy(admin).isAuthorized(address(0));
        admins = AdminProxy(admin);
        (bool good, address[] memory validators) = _answer(selection);
        if (!good) revert InvalidValidatorSelectionContract(selection);
        validatorSelectionContract = selection;
        _keep(validators);
        emit ValidatorSelectionContractUpdated(address(0), selection);
        emit AdminContractUpdated(address(0), admin);
    }

    /// @inheritdoc ValidatorSet
    /// @dev Never reverts and is never empty.
    function getValidators() external view returns (address[] memory) {
        (bool good, address[] memory validators) = _answer(validatorSelectionContract);
        return good ? validators : _lastGood;
    }

    /// @return The set that answers when the selection does not.
    function getLastGoodValidators() external view returns (address[] memory) {
        return _lastGood;
    }

    /// @return good Whether the selection answers well at present.
    function isSelectionGood() external view returns (bool good) {
        (good,) = _answer(validatorSelectionContract);
    }

    /// @notice Keeps the present set as the last good one, if it is good. Anybody may ask for it.
    function keepValidators() external {
        (bool good, address[] memory validators) = _answer(validatorSelectionContract);
        if (good) _keep(validators);
        else emit LastGoodSetInForce(validatorSelectionContract);
    }

    /// @notice Governance replaces the selection by one that answers well.
    function updateValidatorSelectionContract(address selection) external onlyGovernance {
        if (selection == address(0)) revert InvalidAddress();
        if (selection == validatorSelectionContract) revert SameAddress(selection);
        (bool good, address[] memory validators) = _answer(selection);
        if (!good) revert InvalidValidatorSelectionContract(selection);
        emit ValidatorSelectionContractUpdated(validatorSelectionContract, selection);
        validatorSelectionContract = selection;
        _keep(validators);
    }

    /// @notice Governance takes the selection away: the present set stays.
    function removeValidatorSelectionContract() external onlyGovernance {
        (bool good, address[] memory validators) = _answer(validatorSelectionContract);
        if (good) _keep(validators);
        emit ValidatorSelectionContractRemoved(validatorSelectionContract);
        validatorSelectionContract = address(0);
    }

    /// @notice Governance puts another Admin contract in place, which obeys the governance that does it.
    function updateAdminContract(address admin) external onlyGovernance {
        if (admin == address(0)) revert InvalidAddress();
        if (admin == address(admins)) revert SameAddress(admin);
        if (admin.code.length == 0 || !AdminProxy(admin).isAuthorized(msg.sender)) revert InvalidAdminContract(admin);
        emit AdminContractUpdated(address(admins), admin);
        admins = AdminProxy(admin);
    }

    /// @notice Refused: nobody could change anything any more.
    function removeAdminContract() external view onlyGovernance {
        revert InvalidAdminContract(address(0));
    }

    /// @notice ERC-165.
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == 0x01ffc9a7 || interfaceId == ValidatorSet.getValidators.selector;
    }

    function _keep(address[] memory validators) private {
        _lastGood = validators;
        lastGoodBlock = block.number;
        emit LastGoodSetKept(validators);
    }

    /// The selection's answer, if it is one: a list in form of different addresses, not zero, not too many, and not fewer than
    /// the minimum when the last good set had that many.
    function _answer(address selection) private view returns (bool, address[] memory validators) {
        if (selection.code.length == 0) return (false, validators);
        bytes memory question = abi.encodeCall(ValidatorSet.getValidators, ());
        bytes memory answer = new bytes(64 + 32 * VALIDATORS_MAX);
        uint size;
        bool done;
        uint gasOfSelection = SELECTION_GAS;
        // No more is copied than a good answer has: a larger one would use the gas of whoever asks.
        assembly ("memory-safe") {
            done := staticcall(gasOfSelection, selection, add(question, 32), mload(question), add(answer, 32), mload(answer))
            size := returndatasize()
        }
        if (!done || size < 64) return (false, validators);
        uint count = _word(answer, 32);
        if (_word(answer, 0) != 32 || count > VALIDATORS_MAX || size != 64 + 32 * count) return (false, validators);
        uint least = _lastGood.length < VALIDATORS_MIN ? _lastGood.length : VALIDATORS_MIN;
        if (count == 0 || count < least) return (false, validators);
        validators = new address[](count);
        for (uint i = 0; i < count; ++i) {
            uint word = _word(answer, 64 + 32 * i);
            if (word == 0 || word > type(uint160).max) return (false, validators);
            validators[i] = address(uint160(word));
            for (uint j = 0; j < i; ++j) {
                if (validators[j] == validators[i]) return (false, validators);
            }
        }
        return (true, validators);
    }

    function _word(bytes memory data, uint at) private pure returns (uint word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 32), at))
        }
    }
}
