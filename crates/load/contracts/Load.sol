// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// The token that `ipe load --kind erc20` transfers: what every ERC-20 does on a transfer (two balances, one event), and a
/// way to give many senders their first balance in one transaction.
contract LoadToken {
    string public constant name = "Load";
    string public constant symbol = "LOAD";
    uint8 public constant decimals = 18;

    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    function mint(address[] calldata to, uint256 each) external {
        for (uint256 i = 0; i < to.length; i++) {
            balanceOf[to[i]] += each;
            emit Transfer(address(0), to[i], each);
        }
        totalSupply += each * to.length;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        balanceOf[msg.sender] -= value;
        unchecked {
            balanceOf[to] += value;
        }
        emit Transfer(msg.sender, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        allowance[from][msg.sender] -= value;
        balanceOf[from] -= value;
        unchecked {
            balanceOf[to] += value;
        }
        emit Transfer(from, to, value);
        return true;
    }
}

/// What `ipe load --kind store` calls: a document of any size is registered by its hash, as notaries on a chain do.
contract LoadStore {
    mapping(uint256 => bytes32) public hashOf;

    event Stored(uint256 indexed key, bytes32 hash, address indexed by);

    function put(uint256 key, bytes calldata document) external {
        bytes32 hash = keccak256(document);
        hashOf[key] = hash;
        emit Stored(key, hash, msg.sender);
    }
}
