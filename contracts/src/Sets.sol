// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// @title Sets of words that can be listed.
/// @notice Adding, removing and looking up cost the same whatever the set's size. Removing moves the last element into the
/// hole, so the order of a list changes with every removal.
library Sets {
    struct Set {
        bytes32[] values;
        /// Place of a value in `values`, from 1; 0 for what is not in the set.
        mapping(bytes32 value => uint256 place) places;
    }

    /// @return Whether the value was new.
    function add(Set storage set, bytes32 value) internal returns (bool) {
        if (set.places[value] != 0) return false;
        set.values.push(value);
        set.places[value] = set.values.length;
        return true;
    }

    /// @return Whether the value was there.
    function remove(Set storage set, bytes32 value) internal returns (bool) {
        uint256 place = set.places[value];
        if (place == 0) return false;
        bytes32 last = set.values[set.values.length - 1];
        set.values[place - 1] = last;
        set.places[last] = place;
        set.values.pop();
        delete set.places[value];
        return true;
    }

    function contains(Set storage set, bytes32 value) internal view returns (bool) {
        return set.places[value] != 0;
    }

    function length(Set storage set) internal view returns (uint256) {
        return set.values.length;
    }

    /// @notice An address as a word: the number, padded on the left.
    function word(address account) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }

    /// @notice The address that `word` was made of.
    function unword(bytes32 value) internal pure returns (address) {
        return address(uint160(uint256(value)));
    }
}
