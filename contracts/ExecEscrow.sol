// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

interface IERC20 {
    function balanceOf(address account) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @title Escrow for the rental of edge sites among strangers.
///
/// @notice One contract holds the money of all agreements between buyers (orchestrators of applications) and providers
/// (independent edge providers). A buyer pays the whole price under an offer that the provider signed; the money is
/// divided by what the buyer has acknowledged in signed cumulative receipts.
///
/// ```
/// propose ---------> Proposed --confirm--> Confirmed <------------------- proposeConfirmed
///                       |------reject----> Rejected
///                       '------close-----> Expired
/// Confirmed --settle, settleMutually, close------------------> Settled
/// Confirmed --claim--> Claimed --close, settle, settleMutually--> Settled
/// Claimed --dispute--> Disputed --rule, close, settle, settleMutually--> Settled
/// ```
///
/// Why it is as it is:
/// - Nobody owns it, nothing in it can be changed, and it has neither immutables nor constructor arguments, so that
///   its runtime code is the same bytes everywhere and a client can compare its hash before it pays.
/// - An agreement is one storage slot. Its id is the EIP-712 digest of the offer, hence of all terms and of the hash of
///   the prose; whoever does something brings the offer along, and the digest proves that it is the one agreed on.
/// - A confirmation is a signature over the id, which the buyer brings along with the money: it costs the provider no
///   transaction, and no money moves to a provider that does not answer. It names its buyer, as an offer may, so that
///   nobody can take it up before them. A provider that would rather answer on chain says so by `answerTime`.
/// - Every state that holds money can be left by anyone after a known time, by `close`.
/// - Money leaves only by `withdraw`, out of credits, so a party that refuses money or runs code on receipt can only
///   hurt itself. Tokens are strangers' code: what takes or pays them is locked against coming back.
/// - There is no list of good tokens, since it would need an owner. The provider names the asset in its signed offer and
///   the buyer pays in it, so both have chosen it; sums, credits, stake and reputation are kept per asset, so a bad
///   token hurts those who took it and nobody else. A token that takes a fee, or moves less than it says, is refused.
/// - Neither side is judge in its own case. The provider closes with the buyer's signature. The buyer closes with its
///   own word only after `PROVIDER_WINDOW`, in which the provider can show the latest receipt or claim more. Silence of
///   both pays one receipt interval; silence after a claim pays the last receipt and one interval.
/// - `BURN_BASIS_POINTS` of what a provider is paid can be reached by nobody, so that trading with oneself to look busy
///   has a price. They are the provider's reputation: a unit burned is a unit of reputation, and in a dispute that no
///   arbiter decides it moves at most one unit of money, once. So the most that self-dealing can ever gain is what it
///   burned.
/// - What is slashed is burned. Nobody gains by it, so nobody has a reason to provoke it.
contract ExecEscrow {
    /// @notice What a provider signs. EIP-712; the digest is the id of the agreement.
    struct Offer {
        address provider; // who signs, confirms and is paid
        address buyer; // who may take it up; zero: anybody
        bytes32 site; // keccak256 of "host:port" of the entry point
        uint64 slotStart; // first second
        uint64 slotEnd; // first second after the slot
        bytes32 hardware; // keccak256(abi.encode(milliCpu, memoryBytes, pids))
        bytes32 sla; // keccak256(abi.encode(textHash, availabilityPpm, receiptInterval, notice, contactHash))
        uint64 receiptInterval; // longest time between two receipts, seconds
        uint64 notice; // shortest time between giveNotice and the stop, seconds
        uint64 answerTime; // time for an answer on chain, seconds; 0: only with a confirmation
        address asset; // zero: the chain's own currency; else an ERC-20 token
        uint256 pricePerSecond; // smallest units of the asset
        uint256 stake; // of the provider's, locked while the agreement lasts
        address arbiter; // who rules on disputes; zero: nobody, time does
        uint64 expires; // last second in which it can be taken up
        bytes32 nonce; // makes equal offers distinct
    }

    enum State {
        None,
        Proposed,
        Confirmed,
        Claimed,
        Disputed,
        Rejected,
        Expired,
        Settled
    }

    /// @dev An agreement as it is stored; everything else follows from the offer.
    struct Agreement {
        address buyer;
        State state;
        // Proposed: last second for an answer. Confirmed: when the service stops, if before the slot's end, else 0.
        // Settled: what was due of the deposit.
        uint88 data;
    }

    /// @dev What a provider claims without a receipt for all of it.
    struct Claim {
        uint88 floor; // by the receipt that came with it
        uint88 amount; // in all
        uint64 deadline; // last second to dispute it, or to rule on it
    }

    /// @dev What the contract owes an account, and what the account has burned for.
    struct Account {
        uint128 credit;
        uint128 reputation;
    }

    struct Stake {
        uint128 free;
        uint128 locked;
    }

    /// @dev Sums of one asset; what is burned is the rest.
    struct Sums {
        uint128 deposited;
        uint128 held;
        uint128 released;
        uint128 refunded;
    }

    /// @notice Longest time that a provider may have for its answer (while the buyer's money is bound), seconds.
    uint64 public constant MAX_CONFIRM_TIME = 10 minutes;
    /// @notice Time after the service in which only the provider can close, seconds; many blocks on any chain.
    uint64 public constant PROVIDER_WINDOW = 10 minutes;
    /// @notice Time after the service after which anyone can close without a receipt, and time to dispute a claim, seconds.
    uint64 public constant CHALLENGE_WINDOW = 1 hours;
    /// @notice Time for the arbiter, or for the parties to agree, before time splits what is disputed, seconds.
    uint64 public constant ARBITRATION_TIME = 3 days;
    /// @notice How far ahead a slot may end, seconds; makes "finite time" finite.
    uint64 public constant MAX_HORIZON = 366 days;
    /// @notice Share of every payment to a provider that is burned, in 1/10000.
    uint256 public constant BURN_BASIS_POINTS = 100;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("ExEC");
    bytes32 private constant VERSION_HASH = keccak256("1");
    bytes32 private constant OFFER_TYPEHASH = keccak256(
        "Offer(address provider,address buyer,bytes32 site,uint64 slotStart,uint64 slotEnd,bytes32 hardware,bytes32 sla,uint64 receiptInterval,uint64 notice,uint64 answerTime,address asset,uint256 pricePerSecond,uint256 stake,address arbiter,uint64 expires,bytes32 nonce)"
    );
    bytes32 private constant CONFIRMATION_TYPEHASH =
        keccak256("Confirmation(bytes32 agreement,address buyer,uint64 until)");
    bytes32 private constant RECEIPT_TYPEHASH = keccak256("Receipt(bytes32 agreement,uint256 due)");
    bytes32 private constant CLOSING_TYPEHASH = keccak256("Closing(bytes32 agreement,uint256 due)");
    /// @dev Half of the order of secp256k1; a larger s is the malleable twin of a signature (EIP-2).
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    mapping(bytes32 id => Agreement) private agreements;
    mapping(bytes32 id => Claim) private claims;
    mapping(address asset => Sums) private sums;
    mapping(address account => mapping(address asset => Account)) private accounts;
    mapping(address provider => mapping(address asset => Stake)) private stakes;
    bool private transient entered;

    event Proposed(bytes32 indexed id, address indexed buyer, address indexed provider, uint256 deposit);
    event Confirmed(bytes32 indexed id, address indexed buyer, address indexed provider, uint256 deposit);
    event Rejected(bytes32 indexed id);
    event Expired(bytes32 indexed id);
    event NoticeGiven(bytes32 indexed id, uint64 stop);
    event Claimed(bytes32 indexed id, uint256 floor, uint256 amount, uint64 deadline);
    event Disputed(bytes32 indexed id, address by, uint64 deadline);
    event Settled(bytes32 indexed id, uint256 released, uint256 refunded, uint256 burned, uint256 slashed);
    event Staked(address indexed provider, address indexed asset, uint256 amount);
    event Unstaked(address indexed provider, address indexed asset, uint256 amount);
    event Withdrawn(address indexed account, address indexed asset, address to, uint256 amount);

    /// @notice The slot is empty, ends too far ahead, or is over before the provider has to answer.
    error BadSlot();
    /// @notice The offer is answered by a confirmation only, or later than the escrow allows.
    error BadAnswerTime();
    /// @notice The offer, or the confirmation, is past its expiry.
    error OfferExpired();
    /// @notice The offer was used before.
    error OfferConsumed();
    /// @notice The price of the slot, or the stake, does not fit.
    error PriceOutOfRange();
    /// @notice What was paid is not the price of the slot, or not in the offer's asset.
    error WrongDeposit();
    /// @notice The provider has less free stake than it offers.
    error StakeMissing();
    /// @notice The signature is malformed, malleable or not by the party who has to sign.
    error BadSignature();
    /// @notice The agreement does not exist or is not in the state that this needs.
    error WrongState();
    /// @notice The caller is not the party who may do this.
    error NotAllowed();
    /// @notice The time for this has not come.
    error TooEarly();
    /// @notice The time for this is over.
    error TooLate();
    /// @notice More or less than can be due.
    error DueOutOfRange();
    /// @notice More than the provider staked.
    error SlashOutOfRange();
    /// @notice The asset did not move. Credits stay as they are.
    error TransferFailed();
    /// @notice Called back by a token or a recipient.
    error Reentered();

    modifier locked() {
        if (entered) revert Reentered();
        entered = true;
        _;
        entered = false;
    }

    /// @notice Pays the whole price of an offered slot into escrow, for a provider that answers on chain.
    /// @param signature The provider's signature of the offer: r, s, v.
    /// @return id The offer's digest, which names the agreement from now on.
    function propose(Offer calldata offer, bytes calldata signature) external payable locked returns (bytes32 id) {
        if (offer.answerTime == 0 || offer.answerTime > MAX_CONFIRM_TIME) revert BadAnswerTime();
        uint256 confirmBy = block.timestamp + offer.answerTime;
        uint256 price;
        (id, price) = take(offer, confirmBy);
        requireSignature(id, signature, offer.provider);
        agreements[id] = Agreement(msg.sender, State.Proposed, uint88(confirmBy));
        emit Proposed(id, msg.sender, offer.provider, price);
        collect(offer.asset, price);
    }

    /// @notice Pays the whole price of a slot that the provider has confirmed to the caller.
    /// @param until Last second in which the confirmation counts.
    /// @param confirmation The provider's signature of Confirmation(id, caller, until), and thereby of the offer.
    function proposeConfirmed(Offer calldata offer, uint64 until, bytes calldata confirmation)
        external
        payable
        locked
        returns (bytes32 id)
    {
        if (block.timestamp > until) revert OfferExpired();
        uint256 price;
        (id, price) = take(offer, block.timestamp);
        requireSignature(
            digest(keccak256(abi.encode(CONFIRMATION_TYPEHASH, id, msg.sender, until))), confirmation, offer.provider
        );
        agreements[id] = Agreement(msg.sender, State.Confirmed, 0);
        lockStake(offer);
        emit Confirmed(id, msg.sender, offer.provider, price);
        collect(offer.asset, price);
    }

    /// @notice The provider accepts, in time.
    function confirm(Offer calldata offer) external locked {
        (bytes32 id, Agreement memory a) = find(offer);
        if (a.state != State.Proposed) revert WrongState();
        if (msg.sender != offer.provider) revert NotAllowed();
        if (block.timestamp > a.data) revert TooLate();
        agreements[id] = Agreement(a.buyer, State.Confirmed, 0);
        lockStake(offer);
        emit Confirmed(id, a.buyer, offer.provider, priceOf(offer));
    }

    /// @notice The provider declines; the deposit is the buyer's again.
    function reject(Offer calldata offer) external locked {
        (bytes32 id, Agreement memory a) = find(offer);
        if (a.state != State.Proposed) revert WrongState();
        if (msg.sender != offer.provider) revert NotAllowed();
        agreements[id] = Agreement(a.buyer, State.Rejected, 0);
        divide(offer, a.buyer, 0, 0);
        emit Rejected(id);
    }

    /// @notice The provider takes its hardware back before the end of the slot, at `stop`, once. What can be due ends
    /// with it, and so do the waiting times.
    function giveNotice(Offer calldata offer, uint64 stop) external locked {
        (bytes32 id, Agreement memory a) = find(offer);
        if (a.state != State.Confirmed || a.data != 0) revert WrongState();
        if (msg.sender != offer.provider) revert NotAllowed();
        if (stop < block.timestamp + offer.notice) revert TooEarly();
        if (stop >= offer.slotEnd) revert TooLate();
        agreements[id] = Agreement(a.buyer, State.Confirmed, stop);
        emit NoticeGiven(id, stop);
    }

    /// @notice Divides the deposit by the buyer's receipt: the provider at any time, the buyer once the service is over
    /// by `PROVIDER_WINDOW` and nothing was claimed.
    /// @param due Cumulative amount that the buyer acknowledges, at most the deposit.
    /// @param receipt The buyer's signature of Receipt(id, due).
    function settle(Offer calldata offer, uint256 due, bytes calldata receipt) external locked {
        (bytes32 id, Agreement memory a) = find(offer);
        requireRunning(a.state);
        if (msg.sender != offer.provider) {
            if (msg.sender != a.buyer) revert NotAllowed();
            if (a.state != State.Confirmed) revert WrongState();
            if (block.timestamp <= endOf(offer, a) + PROVIDER_WINDOW) revert TooEarly();
        }
        if (due > priceOf(offer)) revert DueOutOfRange();
        requireSignature(digest(keccak256(abi.encode(RECEIPT_TYPEHASH, id, due))), receipt, a.buyer);
        finish(offer, id, a.buyer, due, 0);
    }

    /// @notice Divides the deposit as both parties signed, at any time, whatever was claimed or disputed. By anyone.
    /// @param buyerSignature Both are signatures of Closing(id, due).
    function settleMutually(
        Offer calldata offer,
        uint256 due,
        bytes calldata buyerSignature,
        bytes calldata providerSignature
    ) external locked {
        (bytes32 id, Agreement memory a) = find(offer);
        requireRunning(a.state);
        if (due > priceOf(offer)) revert DueOutOfRange();
        bytes32 closing = digest(keccak256(abi.encode(CLOSING_TYPEHASH, id, due)));
        requireSignature(closing, buyerSignature, a.buyer);
        requireSignature(closing, providerSignature, offer.provider);
        finish(offer, id, a.buyer, due, 0);
    }

    /// @notice The provider asks for more than the receipts that it has, once the service is over.
    /// @param amount What it asks for in all, at most the price of the time up to the end of the service.
    /// @param floor What the buyer acknowledged.
    /// @param receipt The buyer's signature of Receipt(id, floor); empty if there is none, and then `floor` is zero.
    function claim(Offer calldata offer, uint256 amount, uint256 floor, bytes calldata receipt) external locked {
        (bytes32 id, Agreement memory a) = find(offer);
        if (a.state != State.Confirmed) revert WrongState();
        if (msg.sender != offer.provider) revert NotAllowed();
        uint256 end = endOf(offer, a);
        if (block.timestamp < end) revert TooEarly();
        if (amount > servedPrice(offer, end) || floor > amount) revert DueOutOfRange();
        if (receipt.length != 0) {
            requireSignature(digest(keccak256(abi.encode(RECEIPT_TYPEHASH, id, floor))), receipt, a.buyer);
        } else if (floor != 0) {
            revert BadSignature();
        }
        uint64 deadline = uint64(block.timestamp) + CHALLENGE_WINDOW;
        agreements[id] = Agreement(a.buyer, State.Claimed, 0);
        claims[id] = Claim(uint88(floor), uint88(amount), deadline);
        emit Claimed(id, floor, amount, deadline);
    }

    /// @notice Takes a claim to the arbiter, or to time: the buyer who denies it, or the provider who wants more of it
    /// than silence gives.
    function dispute(Offer calldata offer) external locked {
        (bytes32 id, Agreement memory a) = find(offer);
        if (a.state != State.Claimed) revert WrongState();
        if (msg.sender != a.buyer && msg.sender != offer.provider) revert NotAllowed();
        if (block.timestamp > claims[id].deadline) revert TooLate();
        uint64 deadline = uint64(block.timestamp) + ARBITRATION_TIME;
        agreements[id] = Agreement(a.buyer, State.Disputed, 0);
        claims[id].deadline = deadline;
        emit Disputed(id, msg.sender, deadline);
    }

    /// @notice The arbiter decides, in time.
    /// @param due Between what the buyer acknowledged and what the provider claimed.
    /// @param slash How much of the provider's stake is burned; if any, half of its reputation goes too.
    function rule(Offer calldata offer, uint256 due, uint256 slash) external locked {
        (bytes32 id, Agreement memory a) = find(offer);
        if (a.state != State.Disputed) revert WrongState();
        if (msg.sender != offer.arbiter) revert NotAllowed();
        Claim memory c = claims[id];
        if (block.timestamp > c.deadline) revert TooLate();
        if (due < c.floor || due > c.amount) revert DueOutOfRange();
        if (slash > offer.stake) revert SlashOutOfRange();
        if (slash != 0) accounts[offer.provider][offer.asset].reputation /= 2;
        finish(offer, id, a.buyer, due, slash);
    }

    /// @notice Ends what nobody else ended in time. By anyone.
    /// - Proposed, not answered: the deposit is the buyer's again. The provider loses what would have been burned of a
    ///   payment, out of its free stake as far as that goes, and as much reputation.
    /// - Confirmed, no receipt shown until `CHALLENGE_WINDOW` after the service: one receipt interval is due.
    /// - Claimed, not disputed: the claim, at most one receipt interval above the receipt, is due.
    /// - Disputed, no ruling: half of what lies between that and the receipt, and for each unit of the provider's
    ///   reputation, which is used up, one unit more, up to three quarters.
    function close(Offer calldata offer) external locked {
        (bytes32 id, Agreement memory a) = find(offer);
        if (a.state == State.Proposed) {
            if (block.timestamp <= a.data) revert TooEarly();
            agreements[id] = Agreement(a.buyer, State.Expired, 0);
            forfeit(offer);
            divide(offer, a.buyer, 0, 0);
            emit Expired(id);
            return;
        }
        requireRunning(a.state);
        uint256 interval = offer.receiptInterval * offer.pricePerSecond;
        uint256 due;
        if (a.state == State.Confirmed) {
            uint256 end = endOf(offer, a);
            if (block.timestamp <= end + CHALLENGE_WINDOW) revert TooEarly();
            due = min(interval, servedPrice(offer, end));
        } else {
            Claim memory c = claims[id];
            if (block.timestamp <= c.deadline) revert TooEarly();
            due = min(c.amount, c.floor + interval);
            if (a.state == State.Disputed) {
                uint256 contested = due - c.floor;
                Account storage provider = accounts[offer.provider][offer.asset];
                uint256 bought = min(contested / 4, provider.reputation);
                provider.reputation -= uint128(bought);
                due = c.floor + contested / 2 + bought;
            }
        }
        finish(offer, id, a.buyer, due, 0);
    }

    /// @notice Adds to the caller's stake in an asset: `msg.value` of the chain's own currency, or `amount` of a token.
    function stake(address asset, uint256 amount) external payable locked {
        if (amount > type(uint88).max) revert PriceOutOfRange();
        stakes[msg.sender][asset].free += uint128(amount);
        sums[asset].deposited += uint128(amount);
        sums[asset].held += uint128(amount);
        emit Staked(msg.sender, asset, amount);
        collect(asset, amount);
    }

    /// @notice Turns stake that no agreement locks into a credit.
    function unstake(address asset, uint256 amount) external locked {
        Stake storage s = stakes[msg.sender][asset];
        if (amount > s.free) revert StakeMissing();
        s.free -= uint128(amount);
        sums[asset].held -= uint128(amount);
        sums[asset].refunded += uint128(amount);
        accounts[msg.sender][asset].credit += uint128(amount);
        emit Unstaked(msg.sender, asset, amount);
    }

    /// @notice Moves the caller's whole credit in an asset to `to`; nothing happens if there is none.
    /// @return amount What was moved, in smallest units.
    function withdraw(address asset, address payable to) external locked returns (uint256 amount) {
        amount = accounts[msg.sender][asset].credit;
        if (amount == 0) return 0;
        if (to == address(0)) revert TransferFailed();
        accounts[msg.sender][asset].credit = 0;
        emit Withdrawn(msg.sender, asset, to, amount);
        if (asset == address(0)) {
            (bool accepted,) = to.call{value: amount}("");
            if (!accepted) revert TransferFailed();
        } else {
            callToken(asset, abi.encodeCall(IERC20.transfer, (to, amount)));
        }
    }

    /// @notice An agreement; its state is None if there is none of this id.
    /// @return buyer Who paid.
    /// @return state Where it stands.
    /// @return deadline Proposed: last second for an answer. Confirmed: when the service stops early, or 0. Claimed,
    /// Disputed: last second to dispute, to rule.
    /// @return floor Claimed, Disputed: by the receipt.
    /// @return due Claimed, Disputed: what is claimed. Settled: what was due.
    function agreement(bytes32 id)
        external
        view
        returns (address buyer, State state, uint64 deadline, uint256 floor, uint256 due)
    {
        Agreement memory a = agreements[id];
        (buyer, state) = (a.buyer, a.state);
        if (state == State.Proposed || state == State.Confirmed) {
            deadline = uint64(a.data);
        } else if (state == State.Claimed || state == State.Disputed) {
            Claim memory c = claims[id];
            (deadline, floor, due) = (c.deadline, c.floor, c.amount);
        } else {
            due = a.data;
        }
    }

    /// @notice Sums over all agreements and stakes in an asset; `deposited = released + refunded + burned + held`.
    function totals(address asset)
        external
        view
        returns (uint256 deposited, uint256 released, uint256 refunded, uint256 burned, uint256 held)
    {
        Sums memory s = sums[asset];
        (deposited, released, refunded, held) = (s.deposited, s.released, s.refunded, s.held);
        burned = deposited - released - refunded - held;
    }

    /// @notice What an account can withdraw of an asset, its reputation in it, and its stake.
    function account(address who, address asset)
        external
        view
        returns (uint256 credit, uint256 reputation, uint256 freeStake, uint256 lockedStake)
    {
        Account memory a = accounts[who][asset];
        Stake memory s = stakes[who][asset];
        return (a.credit, a.reputation, s.free, s.locked);
    }

    /// @dev Checks that an offer can be taken up by the caller, with an answer at `answered` at the latest, and books
    /// its price. The caller of this stores the agreement before any money moves.
    function take(Offer calldata offer, uint256 answered) private returns (bytes32 id, uint256 price) {
        if (block.timestamp > offer.expires) revert OfferExpired();
        if (offer.buyer != address(0) && offer.buyer != msg.sender) revert NotAllowed();
        if (
            offer.slotStart >= offer.slotEnd || offer.slotEnd <= answered
                || offer.slotEnd > block.timestamp + MAX_HORIZON
        ) revert BadSlot();
        if (offer.pricePerSecond > type(uint88).max || offer.stake > type(uint88).max) revert PriceOutOfRange();
        price = priceOf(offer);
        if (price > type(uint88).max) revert PriceOutOfRange();
        id = offerDigest(offer);
        if (agreements[id].state != State.None) revert OfferConsumed();
        Sums storage s = sums[offer.asset];
        s.deposited += uint128(price);
        s.held += uint128(price);
    }

    /// @dev Takes `amount` of an asset from the caller.
    function collect(address asset, uint256 amount) private {
        if (asset == address(0)) {
            if (msg.value != amount) revert WrongDeposit();
            return;
        }
        if (msg.value != 0) revert WrongDeposit();
        uint256 before = IERC20(asset).balanceOf(address(this));
        callToken(asset, abi.encodeCall(IERC20.transferFrom, (msg.sender, address(this), amount)));
        if (IERC20(asset).balanceOf(address(this)) != before + amount) revert WrongDeposit();
    }

    /// @dev Tokens revert, or return false, or nothing at all.
    function callToken(address token, bytes memory data) private {
        if (token.code.length == 0) revert TransferFailed();
        (bool done, bytes memory answer) = token.call(data);
        if (!done || (answer.length != 0 && (answer.length < 32 || abi.decode(answer, (uint256)) != 1))) {
            revert TransferFailed();
        }
    }

    function lockStake(Offer calldata offer) private {
        if (offer.stake == 0) return;
        Stake storage s = stakes[offer.provider][offer.asset];
        if (s.free < offer.stake) revert StakeMissing();
        s.free -= uint128(offer.stake);
        s.locked += uint128(offer.stake);
    }

    /// @dev What not answering costs.
    function forfeit(Offer calldata offer) private {
        uint256 fee = (priceOf(offer) * BURN_BASIS_POINTS) / 10_000;
        Account storage provider = accounts[offer.provider][offer.asset];
        provider.reputation -= uint128(min(fee, provider.reputation));
        Stake storage s = stakes[offer.provider][offer.asset];
        uint256 lost = min(fee, s.free);
        s.free -= uint128(lost);
        sums[offer.asset].held -= uint128(lost);
    }

    function finish(Offer calldata offer, bytes32 id, address buyer, uint256 due, uint256 slash) private {
        agreements[id] = Agreement(buyer, State.Settled, uint88(due));
        if (offer.stake != 0) {
            Stake storage s = stakes[offer.provider][offer.asset];
            s.locked -= uint128(offer.stake);
            s.free += uint128(offer.stake - slash);
        }
        uint256 burned = divide(offer, buyer, due, slash);
        emit Settled(id, due - burned, priceOf(offer) - due, burned, slash);
    }

    /// @dev Takes the deposit, and what is slashed, out of what is held and credits both sides.
    function divide(Offer calldata offer, address buyer, uint256 due, uint256 slash) private returns (uint256 burned) {
        uint256 deposit = priceOf(offer);
        burned = (due * BURN_BASIS_POINTS) / 10_000;
        Sums storage s = sums[offer.asset];
        s.held -= uint128(deposit + slash);
        s.released += uint128(due - burned);
        s.refunded += uint128(deposit - due);
        if (due != 0) {
            Account storage provider = accounts[offer.provider][offer.asset];
            provider.credit += uint128(due - burned);
            provider.reputation += uint128(burned);
        }
        if (due != deposit) accounts[buyer][offer.asset].credit += uint128(deposit - due);
    }

    function find(Offer calldata offer) private view returns (bytes32 id, Agreement memory a) {
        id = offerDigest(offer);
        a = agreements[id];
    }

    function requireRunning(State state) private pure {
        if (state != State.Confirmed && state != State.Claimed && state != State.Disputed) revert WrongState();
    }

    function endOf(Offer calldata offer, Agreement memory a) private pure returns (uint256) {
        return a.data == 0 ? offer.slotEnd : a.data;
    }

    /// @dev The price of the slot up to `end`.
    function servedPrice(Offer calldata offer, uint256 end) private pure returns (uint256) {
        return end <= offer.slotStart ? 0 : offer.pricePerSecond * (end - offer.slotStart);
    }

    function priceOf(Offer calldata offer) private pure returns (uint256) {
        return offer.pricePerSecond * (offer.slotEnd - offer.slotStart);
    }

    function min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function offerDigest(Offer calldata offer) private view returns (bytes32) {
        return digest(keccak256(abi.encode(OFFER_TYPEHASH, offer)));
    }

    /// @dev The EIP-712 digest of a struct in this contract's domain. The chain id is read each time, since a chain can
    /// split.
    function digest(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function requireSignature(bytes32 hash, bytes calldata signature, address signer) private pure {
        if (signature.length != 65) revert BadSignature();
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > HALF_ORDER || (v != 27 && v != 28)) revert BadSignature();
        address recovered = ecrecover(hash, v, r, s);
        if (recovered == address(0) || recovered != signer) revert BadSignature();
    }
}
