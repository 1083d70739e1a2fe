//! What the contract costs: a snapshot that fails when it grows, and the client's limits held against it.

use edge_negotiation::escrow::{
    ARBITRATION_SECONDS, CHALLENGE_WINDOW_SECONDS, PROVIDER_WINDOW_SECONDS,
};
use edge_types::{Amount, Asset, Hash32, Offer};

use super::evm::{
    ARBITER, BUYER, Evm, PRICE, PROVIDER, SLOT_END, STRANGER, key, party, plain_offer, sign,
};
use crate::abi::ExecEscrow;
use crate::client::gas;

/// An escrow that others have used, and a provider with stake; nobody else has been here before.
fn used() -> (Evm, Offer) {
    let mut evm = Evm::new();
    let other = sign(Offer {
        nonce: Hash32([8; 32]),
        provider: party(PROVIDER),
        ..plain_offer(&evm)
    });
    let mut foreign = other.clone();
    foreign.provider = party(1);
    let foreign = edge_wire::signing::sign_offer(foreign, |digest| {
        edge_ports::Signer::sign_digest(key(1), digest)
    });
    evm.propose(party(3), &foreign, PRICE).unwrap();
    evm.confirm(party(1), &foreign).unwrap();
    let receipt = evm.receipt(foreign.id.into(), PRICE / 2, key(3));
    evm.settle(party(1), &foreign, receipt).unwrap();
    evm.stake(party(PROVIDER), Amount::wei(10_000), 10_000)
        .unwrap();
    let mut offer = plain_offer(&evm);
    offer.guarantee.stake = 5_000;
    offer.buyer = Some(party(BUYER));
    (evm, sign(offer))
}

/// Gas of each operation, in the order of [`SNAPSHOT`].
fn measured() -> Vec<(&'static str, u64)> {
    let mut costs = Vec::new();
    let (mut evm, offer) = used();
    evm.agree(&offer).unwrap();
    costs.push(("propose, confirmed by signature", evm.last_gas));
    let receipt = evm.receipt(offer.id.into(), PRICE / 2, key(BUYER));
    evm.settle(party(PROVIDER), &offer, receipt).unwrap();
    costs.push(("settle by receipt", evm.last_gas));
    evm.withdraw(party(PROVIDER), Asset::Native).unwrap();
    costs.push(("withdraw", evm.last_gas));

    let (mut evm, offer) = used();
    evm.propose(party(BUYER), &offer, PRICE).unwrap();
    costs.push(("propose", evm.last_gas));
    evm.confirm(party(PROVIDER), &offer).unwrap();
    costs.push(("confirm", evm.last_gas));
    evm.now = SLOT_END;
    evm.claim(party(PROVIDER), &offer, PRICE, None).unwrap();
    costs.push(("claim", evm.last_gas));
    evm.dispute(party(BUYER), &offer).unwrap();
    costs.push(("dispute", evm.last_gas));
    evm.rule(party(ARBITER), &offer, PRICE / 2, 1_000).unwrap();
    costs.push(("rule", evm.last_gas));

    let (mut evm, offer) = used();
    evm.propose(party(BUYER), &offer, PRICE).unwrap();
    evm.reject(party(PROVIDER), &offer).unwrap();
    costs.push(("reject", evm.last_gas));

    let (mut evm, offer) = used();
    evm.agree(&offer).unwrap();
    evm.now = SLOT_END + CHALLENGE_WINDOW_SECONDS + PROVIDER_WINDOW_SECONDS;
    evm.close(STRANGER, &offer).unwrap();
    costs.push(("close after silence", evm.last_gas));

    let (mut evm, offer) = used();
    evm.agree(&offer).unwrap();
    evm.now = SLOT_END;
    evm.claim(party(PROVIDER), &offer, PRICE, None).unwrap();
    evm.dispute(party(BUYER), &offer).unwrap();
    evm.now += ARBITRATION_SECONDS + 1;
    evm.close(STRANGER, &offer).unwrap();
    costs.push(("close after a dispute", evm.last_gas));

    let (mut evm, offer) = used();
    evm.agree(&offer).unwrap();
    evm.settle_mutually(&offer, PRICE / 2, [key(BUYER), key(PROVIDER)])
        .unwrap();
    costs.push(("settle mutually", evm.last_gas));
    costs
}

/// Kept by hand: change it together with the contract, and say in the commit what the difference buys.
const SNAPSHOT: [(&str, u64); 12] = [
    ("propose, confirmed by signature", 76_739),
    ("settle by receipt", 111_689),
    ("withdraw", 37_314),
    ("propose", 69_730),
    ("confirm", 45_259),
    ("claim", 61_950),
    ("dispute", 42_555),
    ("rule", 108_473),
    ("reject", 72_162),
    ("close after silence", 105_751),
    ("close after a dispute", 109_135),
    ("settle mutually", 117_409),
];

#[test]
fn no_operation_costs_more_than_its_snapshot_and_two_percent() {
    let measured = measured();
    let names = |costs: &[(&'static str, u64)]| costs.iter().map(|it| it.0).collect::<Vec<_>>();
    assert_eq!(names(&measured), names(&SNAPSHOT), "{measured:?}");
    for ((name, used), (_, known)) in measured.iter().zip(SNAPSHOT) {
        assert!(used * 100 <= known * 102, "{name}: {used}, was {known}");
        assert!(
            used * 100 >= known * 90,
            "{name}: {used}, was {known}; lower the snapshot"
        );
    }
}

#[test]
fn the_client_s_gas_limits_suffice() {
    for (name, used) in measured() {
        let limit = match name {
            "propose" | "propose, confirmed by signature" => gas::PROPOSE,
            "confirm" | "reject" | "dispute" => gas::ANSWER,
            "withdraw" => gas::WITHDRAW,
            _ => gas::SETTLE,
        };
        assert!(
            used * 5 <= limit * 4,
            "{name}: {used} is too near to {limit}"
        );
    }
}

#[test]
fn the_happy_path_of_strangers_is_within_its_budget() {
    let measured = measured();
    let happy = measured[0].1 + measured[1].1;
    assert!(happy <= 250_000, "{happy}");
    assert!(happy + measured[2].1 <= 285_000, "{measured:?}");
}

#[test]
fn the_windows_are_those_of_the_model() {
    let mut evm = Evm::new();
    let windows = [
        evm.call(STRANGER, 0, &ExecEscrow::PROVIDER_WINDOWCall {}),
        evm.call(STRANGER, 0, &ExecEscrow::CHALLENGE_WINDOWCall {}),
        evm.call(STRANGER, 0, &ExecEscrow::ARBITRATION_TIMECall {}),
    ];
    let expected = [
        PROVIDER_WINDOW_SECONDS,
        CHALLENGE_WINDOW_SECONDS,
        ARBITRATION_SECONDS,
    ];
    assert_eq!(windows, expected.map(Ok));
}
