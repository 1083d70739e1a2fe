// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExecEscrow} from "../ExecEscrow.sol";
import {Base} from "./Base.sol";

interface Store {
    function store(address account, bytes32 slot, bytes32 value) external;
    function assume(bool holds) external;
}

/// @notice Who may do what, for every caller, amount and time: proven by halmos, tried at random by forge.
/// @dev An agreement is written into its storage slot, so that a proof begins in the state that it is about.
contract AccessTest is Base {
    Store private constant store = Store(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

    ExecEscrow.Offer private offer;
    bytes32 private id;

    function setUp() public {
        vm.warp(START);
        escrow = new ExecEscrow();
        offer = plainOffer(1);
        id = idOf(offer);
    }

    /// @dev `agreements` is the first of the contract's variables; buyer, state and data share its one slot.
    function put(ExecEscrow.State state, uint88 data) private {
        bytes32 slot = keccak256(abi.encode(id, uint256(0)));
        uint256 word = uint256(uint160(buyer)) | (uint256(state) << 160) | (uint256(data) << 168);
        store.store(address(escrow), slot, bytes32(word));
        require(stateOf(id) == state, "the layout is another");
    }

    function failsFor(address caller, bytes memory call) private returns (bool) {
        vm.prank(caller);
        (bool done,) = address(escrow).call(call);
        return !done;
    }

    function test_only_the_provider_answers(address caller, uint64 now_, bool accepts) public {
        store.assume(caller != provider);
        put(ExecEscrow.State.Proposed, uint88(START + 100));
        vm.warp(now_);
        bytes memory call = accepts
            ? abi.encodeCall(ExecEscrow.confirm, (offer))
            : abi.encodeCall(ExecEscrow.reject, (offer));
        assert(failsFor(caller, call));
        assert(stateOf(id) == ExecEscrow.State.Proposed);
    }

    function test_only_the_provider_gives_notice(address caller, uint64 now_, uint64 stop) public {
        store.assume(caller != provider);
        put(ExecEscrow.State.Confirmed, 0);
        vm.warp(now_);
        assert(failsFor(caller, abi.encodeCall(ExecEscrow.giveNotice, (offer, stop))));
    }

    function test_only_the_provider_claims(address caller, uint64 now_, uint256 amount) public {
        store.assume(caller != provider);
        put(ExecEscrow.State.Confirmed, 0);
        vm.warp(now_);
        assert(failsFor(caller, abi.encodeCall(ExecEscrow.claim, (offer, amount, 0, ""))));
    }

    function test_nobody_claims_before_the_service_is_over(address caller, uint64 now_, uint256 amount) public {
        now_ = uint64(now_ % offer.slotEnd);
        put(ExecEscrow.State.Confirmed, 0);
        vm.warp(now_);
        assert(failsFor(caller, abi.encodeCall(ExecEscrow.claim, (offer, amount, 0, ""))));
    }

    function test_only_the_parties_dispute(address caller, uint64 now_) public {
        store.assume(caller != provider && caller != buyer);
        put(ExecEscrow.State.Claimed, 0);
        vm.warp(now_);
        assert(failsFor(caller, abi.encodeCall(ExecEscrow.dispute, (offer))));
    }

    function test_only_the_arbiter_rules(address caller, uint64 now_, uint256 due, uint256 slash) public {
        store.assume(caller != arbiter);
        put(ExecEscrow.State.Disputed, 0);
        vm.warp(now_);
        assert(failsFor(caller, abi.encodeCall(ExecEscrow.rule, (offer, due, slash))));
    }

    function test_strangers_do_not_settle(address caller, uint64 now_, uint256 due, bytes32 r, bytes32 s, uint8 v) public {
        store.assume(caller != provider && caller != buyer);
        put(ExecEscrow.State.Confirmed, 0);
        vm.warp(now_);
        assert(failsFor(caller, abi.encodeCall(ExecEscrow.settle, (offer, due, abi.encodePacked(r, s, v)))));
    }

    function test_nobody_closes_before_the_time(address caller, uint64 now_) public {
        now_ = uint64(now_ % (offer.slotEnd + escrow.CHALLENGE_WINDOW() + 1));
        put(ExecEscrow.State.Confirmed, 0);
        vm.warp(now_);
        assert(failsFor(caller, abi.encodeCall(ExecEscrow.close, (offer))));
    }

    function test_what_is_over_stays_over(address caller, uint64 now_, uint8 state, uint8 action) public {
        state = uint8(ExecEscrow.State.Rejected) + state % 3;
        put(ExecEscrow.State(state), 0);
        vm.warp(now_);
        bytes memory call;
        action %= 9;
        if (action == 0) call = abi.encodeCall(ExecEscrow.confirm, (offer));
        else if (action == 1) call = abi.encodeCall(ExecEscrow.reject, (offer));
        else if (action == 2) call = abi.encodeCall(ExecEscrow.giveNotice, (offer, uint64(START + 250)));
        else if (action == 3) call = abi.encodeCall(ExecEscrow.claim, (offer, 0, 0, ""));
        else if (action == 4) call = abi.encodeCall(ExecEscrow.dispute, (offer));
        else if (action == 5) call = abi.encodeCall(ExecEscrow.rule, (offer, 0, 0));
        else if (action == 6) call = abi.encodeCall(ExecEscrow.settle, (offer, 0, receipt(BUYER_KEY, id, 0)));
        else if (action == 7) call = abi.encodeCall(
            ExecEscrow.settleMutually, (offer, 0, closing(BUYER_KEY, id, 0), closing(PROVIDER_KEY, id, 0))
        );
        else call = abi.encodeCall(ExecEscrow.close, (offer));
        assert(failsFor(caller, call));
        assert(stateOf(id) == ExecEscrow.State(state));
    }

    /// @dev `accounts` is the fourth variable: credit in the lower half of the slot, reputation in the upper.
    function test_nobody_moves_the_credit_of_another(address caller, address to, uint128 credit) public {
        store.assume(caller != buyer);
        bytes32 outer = keccak256(abi.encode(buyer, uint256(3)));
        store.store(address(escrow), keccak256(abi.encode(address(0), outer)), bytes32(uint256(credit)));
        require(creditOf(buyer, address(0)) == credit, "the layout is another");
        vm.prank(caller);
        assert(escrow.withdraw(address(0), payable(to)) == 0);
        assert(creditOf(buyer, address(0)) == credit);
    }

    function test_nobody_takes_back_more_stake_than_its_own(address caller, uint256 amount) public {
        store.assume(amount != 0);
        assert(failsFor(caller, abi.encodeCall(ExecEscrow.unstake, (address(0), amount))));
    }
}
