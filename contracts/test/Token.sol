// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice An ERC-20 token for the escrow's tests, which misbehaves as it is told to.
contract Token {
    enum Manner {
        Plain,
        Silent, // returns nothing, like the best-known token
        Refuses, // moves nothing and returns false
        Fee, // takes a hundredth on the way
        Lies, // moves nothing and returns true
        Backdoor // once calls back whoever moves it, with `call`, and then moves nothing but says it did
    }

    Manner public manner;
    bytes public call;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function behave(Manner as_, bytes calldata with_) external {
        (manner, call) = (as_, with_);
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        return true;
    }

    /// @dev Lets `spender` take what the token has of itself.
    function allow(address spender) external {
        allowance[address(this)][spender] = type(uint256).max;
    }

    function transfer(address to, uint256 amount) external {
        answer(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external {
        allowance[from][msg.sender] -= amount;
        answer(from, to, amount);
    }

    function answer(address from, address to, uint256 amount) private {
        bool moves = manner != Manner.Refuses && manner != Manner.Lies;
        if (manner == Manner.Backdoor && call.length != 0) {
            bytes memory back = call;
            delete call;
            moves = false;
            (bool done, bytes memory why) = msg.sender.call(back);
            if (!done) {
                assembly {
                    revert(add(why, 32), mload(why))
                }
            }
        }
        if (moves) {
            balanceOf[from] -= amount;
            balanceOf[to] += manner == Manner.Fee ? amount - amount / 100 : amount;
        }
        if (manner != Manner.Silent) {
            bool result = manner != Manner.Refuses;
            assembly {
                mstore(0, result)
                return(0, 32)
            }
        }
    }
}
