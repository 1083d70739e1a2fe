// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExecEscrow} from "../ExecEscrow.sol";
import {Base} from "./Base.sol";
import {Token} from "./Token.sol";

/// @notice What the invariant runs call: everything that anybody can do to the escrow, guided so that most of it
/// succeeds, in ether and in a token that may turn bad.
contract Handler is Base {
    Token public token;
    ExecEscrow.Offer[] internal offers;
    bytes32[] public ids;

    /// @dev What was burned of payments, by asset; reputation can never be more.
    mapping(address => uint256) public earned;

    constructor(ExecEscrow escrow_, Token token_) {
        (escrow, token) = (escrow_, token_);
        token.mint(address(token), 1e30);
        token.allow(address(escrow));
        address[3] memory parties = [provider, buyer, STRANGER];
        for (uint256 i = 0; i < 3; i++) {
            vm.deal(parties[i], 1e30);
            token.mint(parties[i], 1e30);
            vm.prank(parties[i]);
            token.approve(address(escrow), type(uint256).max);
        }
    }

    function count() external view returns (uint256) {
        return offers.length;
    }

    function offerOf(uint256 i) external view returns (ExecEscrow.Offer memory) {
        return offers[i];
    }

    function advance(uint16 seconds_) external {
        vm.warp(block.timestamp + (uint256(seconds_) % 400));
    }

    /// @dev To a second beside the deadline that an agreement has by now.
    function toDeadline(uint256 which, uint8 beside) external {
        (ExecEscrow.Offer memory offer, bytes32 id) = pick(which);
        (, ExecEscrow.State state, uint64 deadline,,) = escrow.agreement(id);
        uint256 then = offer.slotEnd;
        if (state != ExecEscrow.State.Confirmed && deadline != 0) then = deadline;
        else if (beside & 4 != 0) then += escrow.CHALLENGE_WINDOW();
        then = then + (beside % 3) - 1;
        require(then > block.timestamp, "in the past");
        vm.warp(then);
    }

    function propose(uint256 terms, bool inToken) external {
        (ExecEscrow.Offer memory offer, bytes32 id) = draw(terms, inToken);
        bytes memory word = signed(PROVIDER_KEY, id);
        uint256 value = inToken ? 0 : offer.pricePerSecond * (offer.slotEnd - offer.slotStart);
        vm.prank(buyer);
        escrow.propose{value: value}(offer, word);
        keep(offer, id);
    }

    function proposeConfirmed(uint256 terms, bool inToken) external {
        (ExecEscrow.Offer memory offer, bytes32 id) = draw(terms, inToken);
        bytes memory word = confirmation(PROVIDER_KEY, id, buyer, uint64(block.timestamp));
        uint256 value = inToken ? 0 : offer.pricePerSecond * (offer.slotEnd - offer.slotStart);
        vm.prank(buyer);
        escrow.proposeConfirmed{value: value}(offer, uint64(block.timestamp), word);
        keep(offer, id);
    }

    function confirm(uint256 which) external {
        (ExecEscrow.Offer memory offer,) = pickIn(which, ExecEscrow.State.Proposed);
        vm.prank(provider);
        escrow.confirm(offer);
    }

    function reject(uint256 which, uint8 seldom) external {
        require(seldom % 4 == 0, "seldom");
        (ExecEscrow.Offer memory offer,) = pickIn(which, ExecEscrow.State.Proposed);
        vm.prank(provider);
        escrow.reject(offer);
    }

    function giveNotice(uint256 which, uint8 after_) external {
        (ExecEscrow.Offer memory offer,) = pickIn(which, ExecEscrow.State.Confirmed);
        vm.prank(provider);
        escrow.giveNotice(offer, uint64(block.timestamp + after_));
    }

    function settle(uint256 which, uint256 due, uint8 seldom) external {
        require(seldom % 3 == 0, "seldom");
        (ExecEscrow.Offer memory offer, bytes32 id) = pickIn(which, ExecEscrow.State.Confirmed);
        due %= priceOf(offer) + 1;
        bytes memory word = receipt(BUYER_KEY, id, due);
        vm.prank(seldom % 2 == 0 ? provider : buyer);
        escrow.settle(offer, due, word);
        earned[offer.asset] += due / 100;
    }

    function settleMutually(uint256 which, uint256 due, uint8 seldom) external {
        require(seldom % 4 == 0, "seldom");
        (ExecEscrow.Offer memory offer, bytes32 id) = pick(which);
        due %= priceOf(offer) + 1;
        escrow.settleMutually(offer, due, closing(BUYER_KEY, id, due), closing(PROVIDER_KEY, id, due));
        earned[offer.asset] += due / 100;
    }

    function claim(uint256 which, uint256 amount, uint256 floor) external {
        (ExecEscrow.Offer memory offer, bytes32 id) = pickIn(which, ExecEscrow.State.Confirmed);
        if (which % 4 != 0 && block.timestamp < offer.slotEnd) vm.warp(offer.slotEnd);
        amount %= priceOf(offer) + 1;
        floor %= amount + 1;
        bytes memory word = receipt(BUYER_KEY, id, floor);
        vm.prank(provider);
        escrow.claim(offer, amount, floor, word);
    }

    function dispute(uint256 which, bool byBuyer) external {
        if (!has(ExecEscrow.State.Claimed)) this.claim(which, which >> 8, which >> 16);
        (ExecEscrow.Offer memory offer,) = pickIn(which, ExecEscrow.State.Claimed);
        vm.prank(byBuyer ? buyer : provider);
        escrow.dispute(offer);
    }

    function rule(uint256 which, uint256 due, uint256 slash) external {
        if (!has(ExecEscrow.State.Disputed)) this.dispute(which, slash % 2 == 0);
        (ExecEscrow.Offer memory offer, bytes32 id) = pickIn(which, ExecEscrow.State.Disputed);
        (,,, uint256 floor, uint256 amount) = escrow.agreement(id);
        due = floor + (due % (amount - floor + 1));
        vm.prank(arbiter);
        escrow.rule(offer, due, slash % (offer.stake + 1));
        earned[offer.asset] += due / 100;
    }

    function close(uint256 which) external {
        (ExecEscrow.Offer memory offer, bytes32 id) = pick(which);
        vm.prank(STRANGER);
        escrow.close(offer);
        (, ExecEscrow.State state,,, uint256 due) = escrow.agreement(id);
        if (state == ExecEscrow.State.Settled) earned[offer.asset] += due / 100;
    }

    function stake(uint64 amount, bool inToken) external {
        vm.prank(provider);
        if (inToken) escrow.stake(address(token), amount);
        else escrow.stake{value: amount}(address(0), amount);
    }

    function unstake(uint64 amount, bool inToken) external {
        address asset = inToken ? address(token) : address(0);
        (,, uint256 free,) = escrow.account(provider, asset);
        vm.prank(provider);
        escrow.unstake(asset, amount % (free + 1));
    }

    function withdraw(uint8 who, bool inToken) external {
        address[3] memory parties = [provider, buyer, STRANGER];
        address party = parties[who % 3];
        vm.prank(party);
        escrow.withdraw(inToken ? address(token) : address(0), payable(party));
    }

    /// @dev Now and then the token misbehaves; it is good again at the next call of this.
    function turn(uint8 manner) external {
        bytes memory back = abi.encodeCall(ExecEscrow.stake, (address(token), 100_000));
        Token.Manner as_ = manner < 16 ? Token.Manner(manner % 6) : Token.Manner.Plain;
        token.behave(as_, as_ == Token.Manner.Backdoor ? back : bytes(""));
    }

    function draw(uint256 terms, bool inToken)
        private
        view
        returns (ExecEscrow.Offer memory offer, bytes32 id)
    {
        offer = plainOffer(offers.length);
        terms = uint256(keccak256(abi.encode(terms, offers.length))); // most numbers that are tried are small
        offer.slotStart = uint64(block.timestamp + 1 + (terms % 100));
        offer.slotEnd = offer.slotStart + 100 + uint64((terms >> 8) % 500);
        offer.pricePerSecond = (terms >> 24) % 1e12;
        offer.stake = (terms >> 64) % 3 == 0 ? (terms >> 80) % 1e6 : 0;
        offer.receiptInterval = uint64((terms >> 128) % 120);
        offer.asset = inToken ? address(token) : address(0);
        if ((terms >> 160) % 3 == 0) offer.buyer = buyer;
        if ((terms >> 168) % 4 == 0) offer.arbiter = address(0);
        id = idOf(offer);
    }

    function keep(ExecEscrow.Offer memory offer, bytes32 id) private {
        offers.push(offer);
        ids.push(id);
    }

    function pick(uint256 which) private view returns (ExecEscrow.Offer memory, bytes32) {
        require(offers.length != 0, "none yet");
        uint256 last = offers.length < 6 ? offers.length : 6;
        uint256 i = offers.length - 1 - (which % last);
        return (offers[i], ids[i]);
    }

    /// @dev The next one from `which` on in a state.
    function pickIn(uint256 which, ExecEscrow.State state)
        private
        view
        returns (ExecEscrow.Offer memory, bytes32)
    {
        for (uint256 i = 0; i < 6 && i < offers.length; i++) {
            (ExecEscrow.Offer memory offer, bytes32 id) = pick((which % 6) + i);
            if (stateOf(id) == state) return (offer, id);
        }
        revert("none in this state");
    }

    function has(ExecEscrow.State state) private view returns (bool) {
        for (uint256 i = 0; i < 6 && i < offers.length; i++) {
            if (stateOf(ids[ids.length - 1 - i]) == state) return true;
        }
        return false;
    }

    function priceOf(ExecEscrow.Offer memory offer) private pure returns (uint256) {
        return offer.pricePerSecond * (offer.slotEnd - offer.slotStart);
    }
}
