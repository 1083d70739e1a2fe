// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExecEscrow} from "../ExecEscrow.sol";
import {Base} from "./Base.sol";
import {Handler} from "./Handler.sol";
import {Token} from "./Token.sol";

/// @notice What holds whatever is called in whatever order.
contract InvariantsTest is Base {
    Handler internal handler;
    Token internal token;

    function setUp() public {
        vm.warp(START);
        escrow = new ExecEscrow();
        token = new Token();
        handler = new Handler(escrow, token);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_every_unit_is_accounted_for() public view {
        checkAsset(address(0), address(escrow).balance);
        checkAsset(address(token), token.balanceOf(address(escrow)));
    }

    /// @dev Whatever happened, a stranger can end everything, and all can take what is theirs.
    function afterInvariant() public {
        token.behave(Token.Manner.Plain, "");
        uint256 count = handler.count();
        for (uint256 i = 0; i < count; i++) {
            ExecEscrow.Offer memory offer = handler.offerOf(i);
            ExecEscrow.State state = stateOf(handler.ids(i));
            if (state == ExecEscrow.State.None || state >= ExecEscrow.State.Rejected) continue;
            vm.warp(block.timestamp + 5 days);
            vm.prank(STRANGER);
            escrow.close(offer);
        }
        windUp(address(0));
        windUp(address(token));
        check(address(escrow).balance == burnedOf(address(0)), "what is left is what was burned");
        check(token.balanceOf(address(escrow)) >= burnedOf(address(token)), "or more, by a token that lied");
    }

    function windUp(address asset) internal {
        (,, uint256 free, uint256 locked) = escrow.account(provider, asset);
        check(locked == 0, "no stake is locked by nothing");
        vm.prank(provider);
        escrow.unstake(asset, free);
        (,,,, uint256 held) = escrow.totals(asset);
        check(held == 0, "nothing is held");
        address[3] memory parties = [provider, buyer, STRANGER];
        for (uint256 p = 0; p < 3; p++) {
            vm.prank(parties[p]);
            escrow.withdraw(asset, payable(parties[p]));
        }
    }

    function burnedOf(address asset) internal view returns (uint256 burned) {
        (,,, burned,) = escrow.totals(asset);
    }

    function checkAsset(address asset, uint256 balance) internal view {
        (uint256 deposited, uint256 released, uint256 refunded, uint256 burned, uint256 held) = escrow.totals(asset);
        check(deposited == released + refunded + burned + held, "conservation");
        uint256 owed = held + burned + credits(asset);
        // A token that lies at a withdrawal leaves more than is owed; ether cannot be sent here but as a deposit.
        check(asset == address(0) ? balance == owed : balance >= owed, "solvency");
        (uint256 running, uint256 locked) = open(asset);
        (, uint256 reputation, uint256 free, uint256 lockedStake) = escrow.account(provider, asset);
        check(reputation <= handler.earned(asset), "reputation is bought by burning alone");
        check(held == running + free + lockedStake, "held is deposits of open agreements and stake");
        check(lockedStake == locked, "stake is locked by agreements in force");
    }

    function credits(address asset) internal view returns (uint256) {
        return creditOf(provider, asset) + creditOf(buyer, asset) + creditOf(STRANGER, asset);
    }

    /// @dev Deposits of open agreements in an asset, and the stake that they lock.
    function open(address asset) internal view returns (uint256 running, uint256 locked) {
        uint256 count = handler.count();
        for (uint256 i = 0; i < count; i++) {
            ExecEscrow.Offer memory offer = handler.offerOf(i);
            ExecEscrow.State state = stateOf(handler.ids(i));
            if (offer.asset != asset || state == ExecEscrow.State.None || state >= ExecEscrow.State.Rejected) continue;
            running += offer.pricePerSecond * (offer.slotEnd - offer.slotStart);
            if (state != ExecEscrow.State.Proposed) locked += offer.stake;
        }
    }
}
