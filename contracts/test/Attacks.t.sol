// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExecEscrow} from "../ExecEscrow.sol";
import {Base} from "./Base.sol";
import {Token} from "./Token.sol";

/// @notice The holes of the SmartEdge contract by name, and properties of single calls.
contract AttacksTest is Base {
    function setUp() public {
        vm.warp(START);
        escrow = new ExecEscrow();
        vm.deal(buyer, 1 ether);
        vm.deal(provider, 1 ether);
    }

    function proposed() internal returns (ExecEscrow.Offer memory offer, bytes32 id) {
        offer = plainOffer(1);
        id = idOf(offer);
        vm.prank(buyer);
        escrow.propose{value: PRICE}(offer, signed(PROVIDER_KEY, id));
    }

    function agreed() internal returns (ExecEscrow.Offer memory offer, bytes32 id) {
        offer = plainOffer(1);
        id = idOf(offer);
        bytes memory word = confirmation(PROVIDER_KEY, id, buyer, uint64(START));
        vm.prank(buyer);
        escrow.proposeConfirmed{value: PRICE}(offer, uint64(START), word);
    }

    function test_A1_a_provider_that_never_answers_cannot_lock_the_money() public {
        (ExecEscrow.Offer memory offer,) = proposed();
        vm.warp(START + offer.answerTime);
        vm.expectRevert(ExecEscrow.TooEarly.selector);
        escrow.close(offer);
        vm.warp(START + offer.answerTime + 1);
        vm.prank(STRANGER);
        escrow.close(offer);
        check(creditOf(buyer, address(0)) == PRICE, "refunded");
    }

    function test_A2_a_party_that_refuses_money_hurts_only_itself() public {
        (ExecEscrow.Offer memory offer, bytes32 id) = agreed();
        vm.etch(buyer, hex"5f5ffd");
        bytes memory word = receipt(BUYER_KEY, id, 50_000);
        vm.prank(provider);
        escrow.settle(offer, 50_000, word);
        vm.prank(provider);
        check(escrow.withdraw(address(0), payable(provider)) == 49_500, "paid");
        vm.prank(buyer);
        vm.expectRevert(ExecEscrow.TransferFailed.selector);
        escrow.withdraw(address(0), payable(buyer));
        check(creditOf(buyer, address(0)) == 50_000, "kept");
    }

    function test_A3_a_buyer_cannot_take_back_what_it_acknowledged() public {
        (ExecEscrow.Offer memory offer, bytes32 id) = agreed();
        vm.warp(offer.slotEnd + escrow.PROVIDER_WINDOW());
        bytes memory nothing = receipt(BUYER_KEY, id, 0);
        vm.prank(buyer);
        vm.expectRevert(ExecEscrow.TooEarly.selector);
        escrow.settle(offer, 0, nothing);
        bytes memory word = receipt(BUYER_KEY, id, 90_000);
        vm.prank(provider);
        escrow.settle(offer, 90_000, word);
        check(creditOf(provider, address(0)) == 89_100, "paid");
    }

    function test_A4_a_late_provider_is_paid_what_was_acknowledged_and_no_more() public {
        (ExecEscrow.Offer memory offer,) = agreed();
        vm.warp(offer.slotEnd + 365 days);
        vm.prank(provider);
        escrow.close(offer);
        check(creditOf(provider, address(0)) == 9_900, "one interval");
    }

    function test_A5_nothing_stays_in_the_contract_but_what_is_burned() public {
        vm.prank(provider);
        escrow.stake{value: 5_000}(address(0), 5_000);
        ExecEscrow.Offer memory offer = plainOffer(1);
        offer.stake = 5_000;
        bytes32 id = idOf(offer);
        bytes memory word = confirmation(PROVIDER_KEY, id, buyer, uint64(START));
        vm.prank(buyer);
        escrow.proposeConfirmed{value: PRICE}(offer, uint64(START), word);
        word = receipt(BUYER_KEY, id, 50_000);
        vm.prank(provider);
        escrow.settle(offer, 50_000, word);
        vm.prank(provider);
        escrow.unstake(address(0), 5_000);
        vm.prank(provider);
        escrow.withdraw(address(0), payable(provider));
        vm.prank(buyer);
        escrow.withdraw(address(0), payable(buyer));
        check(address(escrow).balance == 500, "the burned share");
    }

    function test_A6_nobody_can_squat_on_a_slot() public {
        ExecEscrow.Offer memory offer = plainOffer(1);
        offer.buyer = buyer;
        bytes memory word = signed(PROVIDER_KEY, idOf(offer));
        vm.deal(STRANGER, 1 ether);
        vm.prank(STRANGER);
        vm.expectRevert(ExecEscrow.NotAllowed.selector);
        escrow.propose{value: PRICE}(offer, word);
        vm.prank(buyer);
        vm.expectRevert(ExecEscrow.WrongDeposit.selector);
        escrow.propose{value: PRICE - 1}(offer, word);
    }

    function test_an_offer_is_used_once() public {
        (ExecEscrow.Offer memory offer, bytes32 id) = proposed();
        bytes memory word = signed(PROVIDER_KEY, id);
        vm.prank(buyer);
        vm.expectRevert(ExecEscrow.OfferConsumed.selector);
        escrow.propose{value: PRICE}(offer, word);
    }

    function test_a_front_runner_cannot_use_another_buyer_s_confirmation() public {
        ExecEscrow.Offer memory offer = plainOffer(1);
        offer.answerTime = 0;
        bytes32 id = idOf(offer);
        bytes memory word = confirmation(PROVIDER_KEY, id, buyer, uint64(START));
        vm.deal(STRANGER, 1 ether);
        vm.prank(STRANGER);
        vm.expectRevert(ExecEscrow.BadSignature.selector);
        escrow.proposeConfirmed{value: PRICE}(offer, uint64(START), word);
        word = signed(PROVIDER_KEY, id);
        vm.prank(STRANGER);
        vm.expectRevert(ExecEscrow.BadAnswerTime.selector);
        escrow.propose{value: PRICE}(offer, word);
    }

    function test_the_twin_of_a_signature_is_refused() public {
        ExecEscrow.Offer memory offer = plainOffer(1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(PROVIDER_KEY, idOf(offer));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes memory twin = abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27));
        vm.prank(buyer);
        vm.expectRevert(ExecEscrow.BadSignature.selector);
        escrow.propose{value: PRICE}(offer, twin);
    }

    function test_an_arbiter_rules_within_receipt_and_claim() public {
        (ExecEscrow.Offer memory offer, bytes32 id) = agreed();
        vm.warp(offer.slotEnd);
        bytes memory word = receipt(BUYER_KEY, id, 20_000);
        vm.prank(provider);
        escrow.claim(offer, 60_000, 20_000, word);
        vm.prank(buyer);
        escrow.dispute(offer);
        vm.prank(arbiter);
        vm.expectRevert(ExecEscrow.DueOutOfRange.selector);
        escrow.rule(offer, 19_999, 0);
        vm.prank(arbiter);
        vm.expectRevert(ExecEscrow.DueOutOfRange.selector);
        escrow.rule(offer, 60_001, 0);
        vm.prank(buyer);
        vm.expectRevert(ExecEscrow.NotAllowed.selector);
        escrow.rule(offer, 20_000, 0);
        vm.prank(arbiter);
        escrow.rule(offer, 20_000, 0);
    }

    function test_reputation_moves_a_split_once() public {
        (ExecEscrow.Offer memory first, bytes32 id) = agreed();
        bytes memory word = receipt(BUYER_KEY, id, PRICE);
        vm.prank(provider);
        escrow.settle(first, PRICE, word);
        ExecEscrow.Offer memory offer = plainOffer(2);
        id = idOf(offer);
        word = confirmation(PROVIDER_KEY, id, buyer, uint64(START));
        vm.prank(buyer);
        escrow.proposeConfirmed{value: PRICE}(offer, uint64(START), word);
        vm.warp(offer.slotEnd);
        vm.prank(provider);
        escrow.claim(offer, 60_000, 0, "");
        vm.prank(buyer);
        escrow.dispute(offer);
        vm.warp(block.timestamp + escrow.ARBITRATION_TIME() + 1);
        escrow.close(offer);
        (,,,, uint256 due) = escrow.agreement(id);
        check(due == 6_000, "half of an interval, and what was burned before");
        (, uint256 reputation,,) = escrow.account(provider, address(0));
        check(reputation == 60, "used up");
    }

    function test_a_token_cannot_come_back_in_the_middle_of_a_payment() public {
        Token token = new Token();
        token.mint(address(token), 1e9);
        token.allow(address(escrow));
        token.behave(Token.Manner.Backdoor, abi.encodeCall(ExecEscrow.stake, (address(token), PRICE)));
        ExecEscrow.Offer memory offer = plainOffer(1);
        offer.asset = address(token);
        bytes memory word = signed(PROVIDER_KEY, idOf(offer));
        vm.prank(buyer);
        token.approve(address(escrow), PRICE);
        vm.prank(buyer);
        vm.expectRevert(ExecEscrow.TransferFailed.selector);
        escrow.propose(offer, word);
    }

    function testFuzz_a_settlement_divides_the_whole_deposit(uint256 due) public {
        (ExecEscrow.Offer memory offer, bytes32 id) = agreed();
        due %= PRICE + 1;
        bytes memory word = receipt(BUYER_KEY, id, due);
        vm.prank(provider);
        escrow.settle(offer, due, word);
        (uint256 deposited, uint256 released, uint256 refunded, uint256 burned, uint256 held) =
            escrow.totals(address(0));
        check(deposited == PRICE && held == 0 && burned == due / 100, "divided");
        check(released == due - due / 100 && refunded == PRICE - due, "to whom");
    }

    function testFuzz_no_other_key_signs_for_a_party(uint256 key, uint256 due) public {
        (ExecEscrow.Offer memory offer, bytes32 id) = agreed();
        key = (key % 1_000_000) + 1;
        if (key == BUYER_KEY) key = PROVIDER_KEY;
        due %= PRICE + 1;
        bytes memory word = receipt(key, id, due);
        vm.prank(provider);
        vm.expectRevert(ExecEscrow.BadSignature.selector);
        escrow.settle(offer, due, word);
    }

    function testFuzz_money_moves_only_within_its_windows(uint32 later) public {
        (ExecEscrow.Offer memory offer,) = agreed();
        uint256 opens = uint256(offer.slotEnd) + escrow.CHALLENGE_WINDOW();
        uint256 now_ = START + later;
        vm.warp(now_);
        if (now_ <= opens) vm.expectRevert(ExecEscrow.TooEarly.selector);
        escrow.close(offer);
    }
}
