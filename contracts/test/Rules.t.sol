// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExecEscrow} from "../ExecEscrow.sol";
import {Base} from "./Base.sol";
import {Token} from "./Token.sol";

/// @notice Every rule at its edge: the last second in which something can be done and the first after it, the most and one
/// more, and each state in which it cannot be done at all.
contract RulesTest is Base {
    uint64 private constant WINDOW = 10 minutes;
    uint64 private constant CHALLENGE = 1 hours;
    uint64 private constant ARBITRATION = 3 days;

    ExecEscrow.Offer private offer;
    bytes32 private id;

    function setUp() public {
        vm.warp(START);
        escrow = new ExecEscrow();
        vm.deal(buyer, 1 ether);
        vm.deal(provider, 1 ether);
        offer = plainOffer(1);
        id = idOf(offer);
    }

    function renamed() private {
        id = idOf(offer);
    }

    function propose(bytes4 refusal) private {
        bytes memory word = signed(PROVIDER_KEY, id);
        expect(buyer, refusal);
        escrow.propose{value: PRICE}(offer, word);
    }

    function agree(bytes4 refusal) private {
        uint64 until = uint64(block.timestamp);
        bytes memory word = confirmation(PROVIDER_KEY, id, buyer, until);
        expect(buyer, refusal);
        escrow.proposeConfirmed{value: PRICE}(offer, until, word);
    }

    function expect(address caller, bytes4 refusal) private {
        vm.prank(caller);
        if (refusal != 0) vm.expectRevert(refusal);
    }

    function state(ExecEscrow.State wanted) private view {
        check(stateOf(id) == wanted, "another state");
    }

    function claimed(uint256 amount, uint256 floor) private {
        agree(0);
        vm.warp(offer.slotEnd);
        claim(amount, floor, 0);
    }

    function claim(uint256 amount, uint256 floor, bytes4 refusal) private {
        bytes memory word = floor == 0 ? bytes("") : receipt(BUYER_KEY, id, floor);
        expect(provider, refusal);
        escrow.claim(offer, amount, floor, word);
    }

    function settle(address by, uint256 due, bytes4 refusal) private {
        bytes memory word = receipt(BUYER_KEY, id, due);
        expect(by, refusal);
        escrow.settle(offer, due, word);
    }

    function close(bytes4 refusal) private {
        expect(STRANGER, refusal);
        escrow.close(offer);
    }

    function due() private view returns (uint256 of_) {
        (,,,, of_) = escrow.agreement(id);
    }

    function sums(uint256 released, uint256 refunded, uint256 burned, uint256 held) private view {
        (uint256 d, uint256 a, uint256 b, uint256 c, uint256 e) = escrow.totals(address(0));
        check(a == released && b == refunded && c == burned && e == held, "other sums");
        check(d == released + refunded + burned + held, "not conserved");
    }

    function accounts(address who, uint256 credit, uint256 reputation, uint256 free, uint256 locked) private view {
        (uint256 a, uint256 b, uint256 c, uint256 d) = escrow.account(who, address(0));
        check(a == credit && b == reputation && c == free && d == locked, "another account");
    }

    function staked(uint256 amount) private {
        vm.prank(provider);
        escrow.stake{value: amount}(address(0), amount);
    }

    function test_the_windows_are_what_the_clients_count_on() public view {
        check(escrow.MAX_CONFIRM_TIME() == 600 && escrow.PROVIDER_WINDOW() == 600, "minutes");
        check(escrow.CHALLENGE_WINDOW() == 3600 && escrow.ARBITRATION_TIME() == 259_200, "hours and days");
        check(escrow.MAX_HORIZON() == 366 days && escrow.BURN_BASIS_POINTS() == 100, "horizon and share");
    }

    function test_the_time_for_an_answer() public {
        offer.answerTime = 0;
        renamed();
        propose(ExecEscrow.BadAnswerTime.selector);
        offer.answerTime = 601;
        offer.slotEnd = uint64(START + 1200);
        offer.slotStart = uint64(START + 1100);
        renamed();
        propose(ExecEscrow.BadAnswerTime.selector);
        offer.answerTime = 600;
        renamed();
        propose(0);
        (address who, ExecEscrow.State now_, uint64 deadline, uint256 floor, uint256 of_) = escrow.agreement(id);
        check(who == buyer && now_ == ExecEscrow.State.Proposed && deadline == START + 600, "proposed");
        check(floor == 0 && of_ == 0, "nothing due");
        sums(0, 0, 0, PRICE);
    }

    function test_an_offer_ends_after_its_last_second() public {
        vm.warp(offer.expires + 1);
        propose(ExecEscrow.OfferExpired.selector);
        agree(ExecEscrow.OfferExpired.selector);
        vm.warp(offer.expires);
        agree(0);
        state(ExecEscrow.State.Confirmed);
    }

    function test_a_confirmation_ends_after_its_last_second() public {
        uint64 until = uint64(START);
        bytes memory word = confirmation(PROVIDER_KEY, id, buyer, until);
        vm.warp(START + 1);
        expect(buyer, ExecEscrow.OfferExpired.selector);
        escrow.proposeConfirmed{value: PRICE}(offer, until, word);
    }

    function test_slots_that_are_none() public {
        (uint64 start, uint64 end) = (offer.slotStart, offer.slotEnd);
        offer.slotStart = end;
        renamed();
        agree(ExecEscrow.BadSlot.selector);
        (offer.slotStart, offer.slotEnd) = (uint64(START) - 100, uint64(START));
        renamed();
        agree(ExecEscrow.BadSlot.selector);
        (offer.slotStart, offer.slotEnd) = (uint64(START) - 99, uint64(START) + 1);
        renamed();
        agree(0);
        (offer.slotStart, offer.slotEnd) = (uint64(START), uint64(START) + 100);
        renamed();
        propose(ExecEscrow.BadSlot.selector);
        offer.slotEnd = uint64(START) + 366 days + 1;
        offer.slotStart = offer.slotEnd - 100;
        renamed();
        agree(ExecEscrow.BadSlot.selector);
        offer.slotEnd -= 1;
        offer.slotStart -= 1;
        renamed();
        agree(0);
        check(start < end, "the plain offer is one");
    }

    function test_prices_and_stakes_that_do_not_fit() public {
        offer.pricePerSecond = uint256(type(uint88).max) + 1;
        renamed();
        agree(ExecEscrow.PriceOutOfRange.selector);
        offer.pricePerSecond = uint256(type(uint88).max) / 100 + 1;
        renamed();
        agree(ExecEscrow.PriceOutOfRange.selector);
        offer.pricePerSecond = 1_000;
        offer.stake = uint256(type(uint88).max) + 1;
        renamed();
        agree(ExecEscrow.PriceOutOfRange.selector);
        (offer.pricePerSecond, offer.slotStart, offer.slotEnd) = (type(uint88).max, uint64(START), uint64(START + 1));
        offer.stake = 0;
        renamed();
        vm.deal(buyer, type(uint88).max);
        bytes memory word = confirmation(PROVIDER_KEY, id, buyer, uint64(START));
        vm.prank(buyer);
        escrow.proposeConfirmed{value: type(uint88).max}(offer, uint64(START), word);
    }

    function test_an_offer_is_paid_exactly_and_once() public {
        bytes memory word = confirmation(PROVIDER_KEY, id, buyer, uint64(START));
        expect(buyer, ExecEscrow.WrongDeposit.selector);
        escrow.proposeConfirmed{value: PRICE + 1}(offer, uint64(START), word);
        agree(0);
        agree(ExecEscrow.OfferConsumed.selector);
        sums(0, 0, 0, PRICE);
    }

    function test_an_offer_to_somebody_is_not_anybody_s() public {
        offer.buyer = STRANGER;
        renamed();
        agree(ExecEscrow.NotAllowed.selector);
        propose(ExecEscrow.NotAllowed.selector);
    }

    function test_signatures_have_a_form() public {
        bytes memory word = confirmation(PROVIDER_KEY, id, buyer, uint64(START));
        expect(buyer, ExecEscrow.BadSignature.selector);
        escrow.proposeConfirmed{value: PRICE}(offer, uint64(START), abi.encodePacked(word, uint8(0)));
        word[64] = bytes1(uint8(29));
        expect(buyer, ExecEscrow.BadSignature.selector);
        escrow.proposeConfirmed{value: PRICE}(offer, uint64(START), word);
        // No key signs this, and nobody is nobody's provider.
        offer.provider = address(0);
        renamed();
        expect(buyer, ExecEscrow.BadSignature.selector);
        escrow.proposeConfirmed{value: PRICE}(offer, uint64(START), abi.encodePacked(bytes32(0), bytes32(0), uint8(27)));
    }

    function test_answers_come_in_time_from_the_provider_and_once() public {
        propose(0);
        expect(STRANGER, ExecEscrow.NotAllowed.selector);
        escrow.confirm(offer);
        expect(buyer, ExecEscrow.NotAllowed.selector);
        escrow.reject(offer);
        vm.warp(START + offer.answerTime + 1);
        expect(provider, ExecEscrow.TooLate.selector);
        escrow.confirm(offer);
        vm.warp(START + offer.answerTime);
        close(ExecEscrow.TooEarly.selector);
        vm.prank(provider);
        escrow.confirm(offer);
        state(ExecEscrow.State.Confirmed);
        expect(provider, ExecEscrow.WrongState.selector);
        escrow.confirm(offer);
        expect(provider, ExecEscrow.WrongState.selector);
        escrow.reject(offer);
    }

    function test_a_rejection_gives_all_back() public {
        propose(0);
        vm.prank(provider);
        escrow.reject(offer);
        state(ExecEscrow.State.Rejected);
        sums(0, PRICE, 0, 0);
        accounts(buyer, PRICE, 0, 0, 0);
        accounts(provider, 0, 0, 0, 0);
        propose(ExecEscrow.OfferConsumed.selector);
    }

    function test_not_answering_costs_stake_and_reputation() public {
        agree(0);
        settle(provider, PRICE, 0);
        accounts(provider, 99_000, 1_000, 0, 0);
        staked(400);
        offer.nonce = bytes32(uint256(2));
        renamed();
        propose(0);
        vm.warp(START + offer.answerTime + 1);
        close(0);
        state(ExecEscrow.State.Expired);
        // A hundredth of the price: all of the stake, since there is less, and all of the reputation.
        accounts(provider, 99_000, 0, 0, 0);
        accounts(buyer, PRICE, 0, 0, 0);
        sums(99_000, PRICE, 1_400, 0);
    }

    function test_not_answering_costs_no_more_than_the_share() public {
        staked(5_000);
        propose(0);
        vm.warp(START + offer.answerTime + 1);
        close(0);
        accounts(provider, 0, 0, 4_000, 0);
        sums(0, PRICE, 1_000, 4_000);
    }

    function test_notice_is_given_in_time_once_and_by_the_provider() public {
        propose(0);
        expect(provider, ExecEscrow.WrongState.selector);
        escrow.giveNotice(offer, uint64(START + 250));
        vm.prank(provider);
        escrow.confirm(offer);
        expect(buyer, ExecEscrow.NotAllowed.selector);
        escrow.giveNotice(offer, uint64(START + 250));
        expect(provider, ExecEscrow.TooEarly.selector);
        escrow.giveNotice(offer, uint64(START) + offer.notice - 1);
        expect(provider, ExecEscrow.TooLate.selector);
        escrow.giveNotice(offer, offer.slotEnd);
        vm.prank(provider);
        escrow.giveNotice(offer, uint64(START) + offer.notice);
        (,, uint64 stop,,) = escrow.agreement(id);
        check(stop == START + offer.notice, "the stop");
        expect(provider, ExecEscrow.WrongState.selector);
        escrow.giveNotice(offer, uint64(START + 250));
    }

    function test_a_stop_before_the_slot_leaves_nothing_to_claim() public {
        agree(0);
        vm.prank(provider);
        escrow.giveNotice(offer, offer.slotStart);
        vm.warp(offer.slotStart);
        claim(1, 0, ExecEscrow.DueOutOfRange.selector);
        claim(0, 0, 0);
    }

    function test_a_stop_shortens_what_can_be_claimed_and_the_waits() public {
        agree(0);
        uint64 stop = offer.slotStart + 40;
        vm.prank(provider);
        escrow.giveNotice(offer, stop);
        vm.warp(stop - 1);
        claim(40_000, 0, ExecEscrow.TooEarly.selector);
        vm.warp(stop);
        claim(40_001, 0, ExecEscrow.DueOutOfRange.selector);
        vm.warp(stop + WINDOW);
        settle(buyer, 0, ExecEscrow.TooEarly.selector);
        vm.warp(stop + CHALLENGE);
        close(ExecEscrow.TooEarly.selector);
        vm.warp(stop + CHALLENGE + 1);
        close(0);
        check(due() == 10_000, "an interval");
    }

    function test_silence_pays_no_more_than_was_served() public {
        agree(0);
        uint64 stop = offer.slotStart + 4;
        vm.prank(provider);
        escrow.giveNotice(offer, stop);
        vm.warp(stop + CHALLENGE + 1);
        close(0);
        check(due() == 4_000, "four seconds");
        sums(3_960, 96_000, 40, 0);
    }

    function test_the_buyer_settles_after_the_provider_s_window() public {
        agree(0);
        vm.warp(offer.slotEnd + WINDOW);
        settle(buyer, 50_000, ExecEscrow.TooEarly.selector);
        vm.warp(offer.slotEnd + WINDOW + 1);
        settle(STRANGER, 50_000, ExecEscrow.NotAllowed.selector);
        settle(buyer, PRICE + 1, ExecEscrow.DueOutOfRange.selector);
        settle(buyer, 50_000, 0);
        check(due() == 50_000, "by its receipt");
        accounts(buyer, 50_000, 0, 0, 0);
        accounts(provider, 49_500, 500, 0, 0);
        settle(provider, 60_000, ExecEscrow.WrongState.selector);
    }

    function test_the_provider_settles_at_once_even_after_its_claim() public {
        claimed(60_000, 0);
        settle(buyer, 0, ExecEscrow.WrongState.selector);
        settle(provider, PRICE, 0);
        state(ExecEscrow.State.Settled);
        accounts(provider, 99_000, 1_000, 0, 0);
        accounts(buyer, 0, 0, 0, 0);
    }

    function test_nothing_is_settled_that_is_not_agreed() public {
        settle(provider, 0, ExecEscrow.WrongState.selector);
        propose(0);
        settle(provider, 0, ExecEscrow.WrongState.selector);
        mutually(0, BUYER_KEY, PROVIDER_KEY, ExecEscrow.WrongState.selector);
        claim(0, 0, ExecEscrow.WrongState.selector);
        expect(buyer, ExecEscrow.WrongState.selector);
        escrow.dispute(offer);
        expect(arbiter, ExecEscrow.WrongState.selector);
        escrow.rule(offer, 0, 0);
        offer.nonce = bytes32(uint256(7));
        close(ExecEscrow.WrongState.selector);
    }

    function mutually(uint256 of_, uint256 one, uint256 other, bytes4 refusal) private {
        bytes memory first = closing(one, id, of_);
        bytes memory second = closing(other, id, of_);
        expect(STRANGER, refusal);
        escrow.settleMutually(offer, of_, first, second);
    }

    function test_two_signatures_settle_at_any_time_and_neither_alone() public {
        claimed(60_000, 0);
        vm.prank(buyer);
        escrow.dispute(offer);
        mutually(30_000, BUYER_KEY, BUYER_KEY, ExecEscrow.BadSignature.selector);
        mutually(30_000, PROVIDER_KEY, PROVIDER_KEY, ExecEscrow.BadSignature.selector);
        mutually(PRICE + 1, BUYER_KEY, PROVIDER_KEY, ExecEscrow.DueOutOfRange.selector);
        mutually(PRICE, BUYER_KEY, PROVIDER_KEY, 0);
        check(due() == PRICE, "what both signed");
        mutually(0, BUYER_KEY, PROVIDER_KEY, ExecEscrow.WrongState.selector);
    }

    function test_a_claim_is_the_provider_s_after_the_service_and_within_the_price() public {
        agree(0);
        vm.warp(offer.slotEnd - 1);
        claim(PRICE, 0, ExecEscrow.TooEarly.selector);
        vm.warp(offer.slotEnd);
        expect(buyer, ExecEscrow.NotAllowed.selector);
        escrow.claim(offer, 0, 0, "");
        claim(PRICE + 1, 0, ExecEscrow.DueOutOfRange.selector);
        claim(20_000, 20_001, ExecEscrow.DueOutOfRange.selector);
        expect(provider, ExecEscrow.BadSignature.selector);
        escrow.claim(offer, 20_000, 1, "");
        bytes memory own = receipt(PROVIDER_KEY, id, 20_000);
        expect(provider, ExecEscrow.BadSignature.selector);
        escrow.claim(offer, 20_000, 20_000, own);
        claim(PRICE, PRICE, 0);
        (,, uint64 deadline, uint256 floor, uint256 of_) = escrow.agreement(id);
        check(deadline == offer.slotEnd + CHALLENGE && floor == PRICE && of_ == PRICE, "claimed");
        claim(PRICE, PRICE, ExecEscrow.WrongState.selector);
    }

    function test_silence_after_a_claim_pays_one_interval_above_the_receipt() public {
        claimed(60_000, 20_000);
        vm.warp(offer.slotEnd + CHALLENGE);
        close(ExecEscrow.TooEarly.selector);
        vm.warp(offer.slotEnd + CHALLENGE + 1);
        close(0);
        check(due() == 30_000, "receipt and interval");
        close(ExecEscrow.WrongState.selector);
    }

    function test_silence_after_a_claim_pays_no_more_than_it() public {
        claimed(25_000, 20_000);
        vm.warp(offer.slotEnd + CHALLENGE + 1);
        close(0);
        check(due() == 25_000, "the claim");
    }

    function test_a_claim_is_disputed_in_time_by_a_party() public {
        claimed(60_000, 20_000);
        expect(STRANGER, ExecEscrow.NotAllowed.selector);
        escrow.dispute(offer);
        vm.warp(offer.slotEnd + CHALLENGE + 1);
        expect(buyer, ExecEscrow.TooLate.selector);
        escrow.dispute(offer);
        vm.warp(offer.slotEnd + CHALLENGE);
        vm.prank(provider);
        escrow.dispute(offer);
        (,, uint64 deadline, uint256 floor, uint256 of_) = escrow.agreement(id);
        uint64 last = offer.slotEnd + CHALLENGE + ARBITRATION;
        check(deadline == last && floor == 20_000 && of_ == 60_000, "disputed");
        expect(buyer, ExecEscrow.WrongState.selector);
        escrow.dispute(offer);
        vm.warp(last);
        close(ExecEscrow.TooEarly.selector);
        vm.warp(last + 1);
        close(0);
        check(due() == 25_000, "half of the contested interval");
        accounts(provider, 24_750, 250, 0, 0);
    }

    function test_the_arbiter_rules_in_time_and_slashes_no_more_than_the_stake() public {
        staked(5_000);
        offer.stake = 4_000;
        renamed();
        claimed(60_000, 20_000);
        accounts(provider, 0, 0, 1_000, 4_000);
        vm.prank(buyer);
        escrow.dispute(offer);
        expect(arbiter, ExecEscrow.SlashOutOfRange.selector);
        escrow.rule(offer, 20_000, 4_001);
        uint64 last = offer.slotEnd + ARBITRATION;
        vm.warp(last + 1);
        expect(arbiter, ExecEscrow.TooLate.selector);
        escrow.rule(offer, 20_000, 0);
        vm.warp(last);
        vm.prank(arbiter);
        escrow.rule(offer, 60_000, 4_000);
        check(due() == 60_000, "as ruled");
        accounts(provider, 59_400, 600, 1_000, 0);
        sums(59_400, 40_000, 600 + 4_000, 1_000);
    }

    function test_who_is_slashed_loses_half_of_its_reputation() public {
        agree(0);
        settle(provider, PRICE, 0);
        staked(1);
        (offer.nonce, offer.stake) = (bytes32(uint256(2)), 1);
        renamed();
        claimed(10_000, 0);
        vm.prank(buyer);
        escrow.dispute(offer);
        vm.prank(arbiter);
        escrow.rule(offer, 0, 1);
        accounts(provider, 99_000, 500, 0, 0);
    }

    function test_who_is_not_slashed_keeps_it() public {
        agree(0);
        settle(provider, PRICE, 0);
        offer.nonce = bytes32(uint256(2));
        renamed();
        claimed(10_000, 0);
        vm.prank(buyer);
        escrow.dispute(offer);
        vm.prank(arbiter);
        escrow.rule(offer, 0, 0);
        accounts(provider, 99_000, 1_000, 0, 0);
    }

    function test_reputation_moves_at_most_a_quarter() public {
        offer.pricePerSecond = 1_000;
        agree(0);
        settle(provider, PRICE, 0);
        (offer.nonce, offer.receiptInterval) = (bytes32(uint256(2)), 2);
        renamed();
        claimed(60_000, 0);
        vm.prank(buyer);
        escrow.dispute(offer);
        vm.warp(offer.slotEnd + ARBITRATION + 1);
        close(0);
        check(due() == 1_500, "half and a quarter of 2000");
        accounts(provider, 99_000 + 1_485, 1_000 - 500 + 15, 0, 0);
    }

    function test_stake_is_locked_while_an_agreement_lasts() public {
        offer.stake = 4_000;
        renamed();
        agree(ExecEscrow.StakeMissing.selector);
        staked(3_999);
        agree(ExecEscrow.StakeMissing.selector);
        staked(1);
        agree(0);
        accounts(provider, 0, 0, 0, 4_000);
        expect(provider, ExecEscrow.StakeMissing.selector);
        escrow.unstake(address(0), 1);
        settle(provider, 0, 0);
        accounts(provider, 0, 0, 4_000, 0);
        sums(0, PRICE, 0, 4_000);
        vm.prank(provider);
        escrow.unstake(address(0), 4_000);
        accounts(provider, 4_000, 0, 0, 0);
        sums(0, PRICE + 4_000, 0, 0);
    }

    function test_a_stake_is_paid_exactly_and_fits() public {
        expect(provider, ExecEscrow.WrongDeposit.selector);
        escrow.stake{value: 1}(address(0), 2);
        vm.deal(provider, uint256(type(uint88).max) + 1);
        expect(provider, ExecEscrow.PriceOutOfRange.selector);
        escrow.stake{value: uint256(type(uint88).max) + 1}(address(0), uint256(type(uint88).max) + 1);
        staked(type(uint88).max);
        sums(0, 0, 0, type(uint88).max);
    }

    function test_a_credit_is_withdrawn_once_and_to_somebody() public {
        agree(0);
        settle(provider, 50_000, 0);
        vm.prank(provider);
        vm.expectRevert(ExecEscrow.TransferFailed.selector);
        escrow.withdraw(address(0), payable(address(0)));
        vm.prank(provider);
        check(escrow.withdraw(address(0), payable(STRANGER)) == 49_500 && STRANGER.balance == 49_500, "paid");
        vm.prank(provider);
        check(escrow.withdraw(address(0), payable(STRANGER)) == 0 && STRANGER.balance == 49_500, "once");
        accounts(provider, 0, 500, 0, 0);
    }

    function test_tokens_are_paid_without_ether_and_withdrawn() public {
        Token token = new Token();
        token.mint(provider, 10_000);
        vm.deal(provider, 1 ether);
        vm.prank(provider);
        token.approve(address(escrow), 10_000);
        expect(provider, ExecEscrow.WrongDeposit.selector);
        escrow.stake{value: 1}(address(token), 10_000);
        vm.prank(provider);
        escrow.stake(address(token), 10_000);
        vm.prank(provider);
        escrow.unstake(address(token), 10_000);
        vm.prank(provider);
        escrow.withdraw(address(token), payable(STRANGER));
        check(token.balanceOf(STRANGER) == 10_000, "paid");
        vm.prank(provider);
        vm.expectRevert();
        escrow.stake(STRANGER, 0);
    }
}
