// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Escrow for the rental of edge sites among strangers.
///
/// @notice One contract holds the money of all agreements between buyers (orchestrators of applications) and providers
/// (independent edge providers). A buyer pays the whole price under an offer that the provider signed; the provider
/// confirms or rejects; the money is divided by what the buyer has acknowledged in signed cumulative receipts.
///
/// ```
/// Proposed --confirm--> Confirmed --settle--> Settled
///    |------reject----> Rejected
///    '------expire----> Expired
/// ```
///
/// Why it is as it is:
/// - Nobody owns it, nothing in it can be changed, and it has neither immutables nor constructor arguments, so that
///   its runtime code is the same bytes everywhere and a client can compare its hash before it pays.
/// - Every state that holds money can be left by somebody after a known time: `expire` after `confirmBy` (at most ten
///   minutes away) and `settle` without a receipt after `slotEnd + CHALLENGE_WINDOW`, both by anyone.
/// - Money leaves only by `withdraw`, out of credits. No other function calls out, so a party that refuses money or
///   runs code on receipt can only hurt itself.
/// - Neither side is judge in its own case. The provider closes with the buyer's signature. The buyer closes with its
///   own word only after `PROVIDER_WINDOW`, in which the provider can show the latest receipt; otherwise a buyer could
///   take back at the end of the slot what it had acknowledged before. Silence of both pays one receipt interval: more
///   would pay for service that nobody acknowledged, less would let a buyer have the first interval for nothing by
///   saying nothing.
/// - `BURN_BASIS_POINTS` of what a provider is paid can be reached by nobody, so that trading with oneself to look busy
///   has a price. It stays in the contract, which keeps `deposited = released + refunded + burned + held` checkable here.
contract ExecEscrow {
    /// @notice What a provider signs. EIP-712; the digest is the id of the agreement.
    struct Offer {
        address provider; // who signs, confirms and is paid
        bytes32 site; // keccak256 of "host:port" of the entry point
        uint64 slotStart; // first second
        uint64 slotEnd; // first second after the slot
        bytes32 hardware; // keccak256(abi.encode(milliCpu, memoryBytes, pids))
        bytes32 sla; // keccak256(abi.encode(textHash, availabilityPpm, receiptInterval, notice, contactHash))
        uint64 receiptInterval; // longest time between two receipts, seconds
        address asset; // zero: the chain's own currency, the only one so far
        uint256 pricePerSecond; // smallest units of the asset
        uint64 expires; // last second in which it can be accepted
        bytes32 nonce; // makes equal offers distinct
    }

    enum State {
        None,
        Proposed,
        Confirmed,
        Rejected,
        Expired,
        Settled
    }

    /// @notice An agreement as `agreement` returns it.
    struct AgreementView {
        address buyer;
        address provider;
        uint64 slotStart;
        uint64 slotEnd;
        bytes32 site;
        uint256 pricePerSecond;
        uint256 deposit;
        State state;
        uint64 confirmBy;
        uint256 released; // to the provider, net of the burned share
        uint256 refunded; // to the buyer
        uint256 burned; // to nobody
    }

    /// @dev An agreement as it is stored. What follows from the rest is not stored.
    struct Agreement {
        address buyer;
        uint64 confirmBy;
        State state;
        address provider;
        uint64 slotStart;
        uint128 deposit;
        uint64 slotEnd;
        uint64 receiptInterval;
        bytes32 site;
        uint128 due; // of the deposit, to the provider and the burned share; set by settle
    }

    /// @notice Longest time that a provider may have for its answer (while the buyer's money is bound), seconds.
    uint64 public constant MAX_CONFIRM_TIME = 10 minutes;
    /// @notice Time after the slot in which only the provider can close, seconds; many blocks on any chain.
    uint64 public constant PROVIDER_WINDOW = 10 minutes;
    /// @notice Time after the slot after which anyone can close without a receipt, seconds.
    uint64 public constant CHALLENGE_WINDOW = 1 hours;
    /// @notice How far ahead a slot may end, seconds; makes "finite time" finite.
    uint64 public constant MAX_HORIZON = 366 days;
    /// @notice Share of every payment to a provider that is burned, in 1/10000.
    uint256 public constant BURN_BASIS_POINTS = 100;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("ExEC");
    bytes32 private constant VERSION_HASH = keccak256("1");
    bytes32 private constant OFFER_TYPEHASH = keccak256(
        "Offer(address provider,bytes32 site,uint64 slotStart,uint64 slotEnd,bytes32 hardware,bytes32 sla,uint64 receiptInterval,address asset,uint256 pricePerSecond,uint64 expires,bytes32 nonce)"
    );
    bytes32 private constant RECEIPT_TYPEHASH = keccak256("Receipt(bytes32 agreement,uint256 due)");
    /// @dev Half of the order of secp256k1; a larger s is the malleable twin of a signature (EIP-2).
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    mapping(bytes32 id => Agreement) private agreements;

    /// @notice What an account can withdraw, in wei.
    mapping(address account => uint256) public credits;

    uint128 private totalDeposited;
    uint128 private totalHeld;
    uint128 private totalReleased;
    uint128 private totalRefunded;

    event Proposed(
        bytes32 indexed id, address indexed buyer, address indexed provider, uint256 deposit, uint64 confirmBy
    );
    event Confirmed(bytes32 indexed id);
    event Rejected(bytes32 indexed id);
    event Expired(bytes32 indexed id);
    event Settled(bytes32 indexed id, uint256 released, uint256 refunded, uint256 burned);
    event Withdrawn(address indexed account, address to, uint256 amount);

    /// @notice The offer was signed for an asset that this contract does not take.
    error UnsupportedAsset();
    /// @notice The slot is empty, ends too far ahead, or is over before the provider has to answer.
    error BadSlot();
    /// @notice The answer is due in the past or too far ahead.
    error BadConfirmBy();
    /// @notice The offer is past its expiry.
    error OfferExpired();
    /// @notice The offer was used before.
    error OfferConsumed();
    /// @notice The price of the slot does not fit.
    error PriceOutOfRange();
    /// @notice What was paid is not the price of the slot.
    error WrongDeposit();
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
    /// @notice A receipt over more than the deposit.
    error DueExceedsDeposit();
    /// @notice The recipient refused the money, or is the zero address. The credit stays.
    error WithdrawFailed();

    /// @notice Pays the whole price of an offered slot into escrow. By anyone who has the offer: it is the provider's
    /// business to reject buyers whom it has not promised the slot, and overlapping agreements.
    /// @param signature The provider's EIP-712 signature of the offer: r, s, v.
    /// @param confirmBy Last second in which the provider can confirm.
    /// @return id The offer's digest, which names the agreement from now on.
    function propose(Offer calldata offer, bytes calldata signature, uint64 confirmBy)
        external
        payable
        returns (bytes32 id)
    {
        if (offer.asset != address(0)) revert UnsupportedAsset();
        if (block.timestamp > offer.expires) revert OfferExpired();
        if (confirmBy < block.timestamp || confirmBy > block.timestamp + MAX_CONFIRM_TIME) revert BadConfirmBy();
        if (
            offer.slotStart >= offer.slotEnd || offer.slotEnd <= confirmBy
                || offer.slotEnd > block.timestamp + MAX_HORIZON
        ) revert BadSlot();
        if (offer.pricePerSecond > type(uint128).max) revert PriceOutOfRange();
        uint256 price = offer.pricePerSecond * (offer.slotEnd - offer.slotStart);
        if (price > type(uint128).max) revert PriceOutOfRange();
        if (msg.value != price) revert WrongDeposit();

        id = digest(keccak256(abi.encode(OFFER_TYPEHASH, offer)));
        Agreement storage a = agreements[id];
        if (a.state != State.None) revert OfferConsumed();
        requireSignature(id, signature, offer.provider);

        a.buyer = msg.sender;
        a.confirmBy = confirmBy;
        a.state = State.Proposed;
        a.provider = offer.provider;
        a.slotStart = offer.slotStart;
        a.deposit = uint128(price);
        a.slotEnd = offer.slotEnd;
        a.receiptInterval = offer.receiptInterval;
        a.site = offer.site;
        totalDeposited += uint128(price);
        totalHeld += uint128(price);
        emit Proposed(id, msg.sender, offer.provider, price, confirmBy);
    }

    /// @notice The provider accepts, until `confirmBy`.
    function confirm(bytes32 id) external {
        Agreement storage a = agreements[id];
        if (a.state != State.Proposed) revert WrongState();
        if (msg.sender != a.provider) revert NotAllowed();
        if (block.timestamp > a.confirmBy) revert TooLate();
        a.state = State.Confirmed;
        emit Confirmed(id);
    }

    /// @notice The provider declines; the deposit is the buyer's again. Also after `confirmBy`, where it does what
    /// `expire` does.
    function reject(bytes32 id) external {
        Agreement storage a = agreements[id];
        if (a.state != State.Proposed) revert WrongState();
        if (msg.sender != a.provider) revert NotAllowed();
        a.state = State.Rejected;
        divide(a, 0);
        emit Rejected(id);
    }

    /// @notice The provider has not answered until `confirmBy`; the deposit is the buyer's again. By anyone.
    function expire(bytes32 id) external {
        Agreement storage a = agreements[id];
        if (a.state != State.Proposed) revert WrongState();
        if (block.timestamp <= a.confirmBy) revert TooEarly();
        a.state = State.Expired;
        divide(a, 0);
        emit Expired(id);
    }

    /// @notice Divides the deposit for good.
    /// - With the buyer's receipt: the provider at any time, the buyer after `slotEnd + PROVIDER_WINDOW`. The provider
    ///   gets `due` less the burned share.
    /// - Without (empty signature, `due` is ignored): anyone after `slotEnd + CHALLENGE_WINDOW`. No receipt was shown,
    ///   so that nothing is known to be due but the time up to the first receipt: the provider gets one receipt
    ///   interval, at most the deposit, less the burned share.
    /// The buyer gets the rest.
    /// @param due Cumulative amount that the buyer acknowledges, at most the deposit.
    /// @param buyerSignature The buyer's EIP-712 signature of Receipt(id, due), or empty.
    function settle(bytes32 id, uint256 due, bytes calldata buyerSignature) external {
        Agreement storage a = agreements[id];
        if (a.state != State.Confirmed) revert WrongState();
        if (buyerSignature.length == 0) {
            if (block.timestamp <= uint256(a.slotEnd) + CHALLENGE_WINDOW) revert TooEarly();
            uint256 interval = pricePerSecond(a) * a.receiptInterval;
            due = interval < a.deposit ? interval : a.deposit;
        } else {
            if (msg.sender != a.provider) {
                if (msg.sender != a.buyer) revert NotAllowed();
                if (block.timestamp <= uint256(a.slotEnd) + PROVIDER_WINDOW) revert TooEarly();
            }
            if (due > a.deposit) revert DueExceedsDeposit();
            requireSignature(digest(keccak256(abi.encode(RECEIPT_TYPEHASH, id, due))), buyerSignature, a.buyer);
        }
        a.state = State.Settled;
        (uint256 released, uint256 refunded, uint256 burned) = divide(a, uint128(due));
        emit Settled(id, released, refunded, burned);
    }

    /// @notice Moves the caller's whole credit to `to`; nothing happens if there is none.
    /// @return amount What was moved, in wei.
    function withdraw(address payable to) external returns (uint256 amount) {
        amount = credits[msg.sender];
        if (amount == 0) return 0;
        if (to == address(0)) revert WithdrawFailed();
        credits[msg.sender] = 0; // before the call: coming back here finds nothing
        (bool accepted,) = to.call{value: amount}("");
        if (!accepted) revert WithdrawFailed();
        emit Withdrawn(msg.sender, to, amount);
    }

    /// @notice An agreement; its state is None if there is none of this id.
    function agreement(bytes32 id) external view returns (AgreementView memory v) {
        Agreement storage a = agreements[id];
        if (a.state == State.None) return v;
        v.buyer = a.buyer;
        v.provider = a.provider;
        v.slotStart = a.slotStart;
        v.slotEnd = a.slotEnd;
        v.site = a.site;
        v.pricePerSecond = pricePerSecond(a);
        v.deposit = a.deposit;
        v.state = a.state;
        v.confirmBy = a.confirmBy;
        if (a.state != State.Proposed && a.state != State.Confirmed) {
            (v.released, v.refunded, v.burned) = split(a.deposit, a.due);
        }
    }

    /// @notice Sums over all agreements; `deposited = released + refunded + burned + held`.
    function totals()
        external
        view
        returns (uint256 deposited, uint256 released, uint256 refunded, uint256 burned, uint256 held)
    {
        deposited = totalDeposited;
        released = totalReleased;
        refunded = totalRefunded;
        held = totalHeld;
        burned = deposited - released - refunded - held;
    }

    /// @dev The deposit is price times seconds, exactly, so the price need not be stored.
    function pricePerSecond(Agreement storage a) private view returns (uint256) {
        return uint256(a.deposit) / (a.slotEnd - a.slotStart);
    }

    function split(uint256 deposit, uint256 due)
        private
        pure
        returns (uint256 released, uint256 refunded, uint256 burned)
    {
        burned = (due * BURN_BASIS_POINTS) / 10_000;
        released = due - burned;
        refunded = deposit - due;
    }

    /// @dev Takes the deposit out of what is held and credits it to both sides.
    function divide(Agreement storage a, uint128 due)
        private
        returns (uint256 released, uint256 refunded, uint256 burned)
    {
        (released, refunded, burned) = split(a.deposit, due);
        if (due != 0) a.due = due;
        totalHeld -= a.deposit;
        totalReleased += uint128(released);
        totalRefunded += uint128(refunded);
        if (released != 0) credits[a.provider] += released;
        if (refunded != 0) credits[a.buyer] += refunded;
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
