// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {Pagination} from "../src/Pagination.sol";
import {Sets} from "../src/Sets.sol";

/// @title The pages of a set of numbers and of a set of addresses.
contract PaginationMock {
    using Sets for Sets.Set;

    Sets.Set private _numbers;
    Sets.Set private _addresses;

    function getTestPageBounds(uint totalItems, uint pageNumber, uint pageSize) external pure returns (uint start, uint stop) {
        return Pagination.getPageBounds(totalItems, pageNumber, pageSize);
    }

    function resetUintTestSet() external {
        while (_numbers.length() > 0) _numbers.remove(_numbers.values[0]);
    }

    function addUintToTestSet(uint value) external {
        _numbers.add(bytes32(value));
    }

    function getUintTestPage(uint pageNumber, uint pageSize) external view returns (uint[] memory numbers) {
        bytes32[] memory page = Pagination.getPage(_numbers, pageNumber, pageSize);
        numbers = new uint[](page.length);
        for (uint i = 0; i < page.length; ++i) {
            numbers[i] = uint(page[i]);
        }
    }

    function getUintTestSetLength() external view returns (uint) {
        return _numbers.length();
    }

    function resetAddressTestSet() external {
        while (_addresses.length() > 0) _addresses.remove(_addresses.values[0]);
    }

    function addAddressToTestSet(address value) external {
        _addresses.add(Sets.word(value));
    }

    function getAddressTestPage(uint pageNumber, uint pageSize) external view returns (address[] memory) {
        return Pagination.getAddressPage(_addresses, pageNumber, pageSize);
    }

    function getAddressTestSetLength() external view returns (uint) {
        return _addresses.length();
    }
}
