// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {Sets} from "./Sets.sol";

/// @title Pages of lists.
/// @notice Pages and sizes are counted from 1. A page past the end is empty, the last one is cut.
library Pagination {
    /// @param message Which of the two parameters is zero.
    error InvalidPaginationParameter(string message);

    /// @notice Where a page begins and ends.
    /// @return start First index of the page.
    /// @return stop Index after the last one; equal to `start` for an empty page.
    function getPageBounds(uint256 totalItems, uint256 pageNumber, uint256 pageSize)
        internal
        pure
        returns (uint256 start, uint256 stop)
    {
        if (pageNumber == 0) revert InvalidPaginationParameter("pages are counted from 1");
        if (pageSize == 0) revert InvalidPaginationParameter("a page has at least 1 item");
        start = (pageNumber - 1) * pageSize;
        if (start >= totalItems) return (0, 0);
        stop = pageSize > totalItems - start ? totalItems : start + pageSize;
    }

    /// @notice A page of a set, as words.
    function getPage(Sets.Set storage set, uint256 pageNumber, uint256 pageSize) internal view returns (bytes32[] memory page) {
        (uint256 start, uint256 stop) = getPageBounds(set.values.length, pageNumber, pageSize);
        page = new bytes32[](stop - start);
        for (uint256 i = 0; i < page.length; ++i) {
            page[i] = set.values[start + i];
        }
    }

    /// @notice A page of a set of addresses.
    function getAddressPage(Sets.Set storage set, uint256 pageNumber, uint256 pageSize)
        internal
        view
        returns (address[] memory addresses)
    {
        bytes32[] memory page = getPage(set, pageNumber, pageSize);
        addresses = new address[](page.length);
        for (uint256 i = 0; i < page.length; ++i) {
            addresses[i] = Sets.unword(page[i]);
        }
    }
}
