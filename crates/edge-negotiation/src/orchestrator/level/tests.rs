//! What intervals come to, and what that does to the payment.

use edge_types::{ChainTime, MonotonicTime};

use super::super::{Action, Negotiation, NegotiationRecord, NegotiationState, Now, Pace};
use super::*;
use crate::escrow::tests::offer;

const PROMISE_MS: u64 = 20;

const fn ms(ms: u64) -> Rtt {
    Rtt(Duration::from_millis(ms))
}

fn network(number: u8) -> IpNet {
    format!("240.1.{number}.0/24").parse().unwrap()
}

fn bounce(number: u8, at_most: u64) -> Heard {
    Heard::Bounce {
        network: network(number),
        bound: ms(at_most),
        is_promised: true,
    }
}

/// What an interval of ten seconds comes to, with one bounce of each of these networks and times.
fn interval(promise: Option<Rtt>, heard: &[Heard]) -> (Interval, Duration) {
    let mut levels = Levels::default();
    heard.iter().for_each(|heard| levels.hear(*heard));
    let ten = Duration::from_secs(10);
    let unpaid = levels.close(promise, UtcTime(1_000), UtcTime(1_010), ten);
    (levels.past().last().unwrap().clone(), unpaid)
}

fn verdict(bounces: &[(u8, u64)]) -> Verdict {
    let heard: Vec<_> = bounces.iter().map(|(of, at)| bounce(*of, *at)).collect();
    let (interval, unpaid) = interval(Some(ms(PROMISE_MS)), &heard);
    let is_missed = interval.verdict == Verdict::Missed;
    assert_eq!(unpaid > Duration::ZERO, is_missed, "{interval:?}");
    interval.verdict
}

#[test]
fn the_promise_is_for_half_of_the_networks() {
    let near = [(1, 12), (2, 20), (3, 19), (4, 90), (5, 90)];
    assert_eq!(verdict(&near), Verdict::Kept);
    let far = [(1, 12), (2, 21), (3, 19), (4, 90), (5, 90)];
    assert_eq!(verdict(&far), Verdict::Missed);
}

#[test]
fn one_network_cannot_sink_a_site() {
    let mut bounces = vec![(1, 5_000); 40];
    assert_eq!(verdict(&bounces), Verdict::TooFew);
    bounces.push((2, 5_000));
    assert_eq!(verdict(&bounces), Verdict::TooFew, "nor two");
    bounces.extend([(2, 10), (2, 10), (3, 10)]);
    assert_eq!(verdict(&bounces), Verdict::Kept);
    assert_eq!(
        verdict(&[(1, 99), (2, 99), (3, 99), (4, 99)]),
        Verdict::TooFew
    );
}

#[test]
fn of_networks_without_end_the_first_count() {
    let mut levels = Levels::default();
    for number in 0..20_000_u32 {
        let address = std::net::Ipv4Addr::from(number << 8);
        let network = IpNet::new(address.into(), 24).unwrap();
        for heard in [
            Heard::Bounce {
                network,
                bound: ms(1),
                is_promised: true,
            },
            Heard::Failure { network },
            Heard::Reported {
                network,
                rtt: ms(1),
            },
        ] {
            levels.hear(heard);
        }
    }
    (0..1_000).for_each(|_| levels.hear(bounce(0, 1)));
    assert_eq!(levels.bounces.len(), MOST_NETWORKS);
    assert_eq!(levels.failures.len(), MOST_NETWORKS);
    assert_eq!(levels.reported.len(), MOST_NETWORKS);
    assert!(
        levels
            .bounces
            .values()
            .all(|of| of.len() <= MOST_OF_NETWORK)
    );
    for number in 0..100 {
        let at = UtcTime(number);
        levels.close(None, UtcTime(0), at, Duration::from_secs(number));
    }
    assert_eq!(levels.past().count(), MOST_INTERVALS);
}

#[test]
fn clients_whom_the_plan_expects_to_be_far_do_not_count() {
    let far = |number| Heard::Bounce {
        network: network(number),
        bound: ms(90),
        is_promised: false,
    };
    let all: Vec<_> = (1..9).map(far).collect();
    let (told, _) = interval(Some(ms(PROMISE_MS)), &all);
    assert_eq!((told.verdict, told.median), (Verdict::TooFew, None));
    assert_eq!((told.bounces, told.p95), (8, Some(ms(90))));
    let (told, _) = interval(None, &all);
    assert_eq!(told.verdict, Verdict::NothingPromised);
    assert_eq!(told.median, Some(ms(90)));
}

#[test]
fn what_the_site_says_is_compared_with_what_its_clients_found() {
    let reported = |number, at| Heard::Reported {
        network: network(number),
        rtt: ms(at),
    };
    let mut heard = vec![Heard::Sent, reported(1, 2), reported(2, 2), reported(3, 2)];
    heard.extend([bounce(1, 40), bounce(1, 41), bounce(1, 42)]);
    heard.extend([bounce(2, 40), bounce(2, 40)]);
    heard.extend([bounce(3, 8), bounce(3, 40), bounce(3, 40)]);
    heard.extend(
        [Heard::Failure {
            network: network(7),
        }; 3],
    );
    let (told, _) = interval(None, &heard);
    assert_eq!(
        told.doubted, 1,
        "of the second too few came back, of the third one fast"
    );
    assert_eq!((told.sent, told.reported), (1, Some(ms(2))));
    assert_eq!((told.failures, told.failing_networks), (3, 1));
}

/// A workload that runs since the slot began, at a site that promises this availability and the round trip.
fn running(availability_ppm: u32) -> Negotiation {
    let mut offer = offer(1);
    offer.sla.round_trip_ms = PROMISE_MS.try_into().unwrap();
    offer.sla.availability_ppm = availability_ppm;
    let record = NegotiationRecord {
        state: NegotiationState::Running,
        offer,
        reservation: None,
        confirmation: None,
        was_paid: true,
        was_deployed: true,
        receipt_sent: false,
        stops_at: None,
        rejection: None,
        failure: None,
        served: Duration::ZERO,
        good_at: None,
        intervals: Vec::new(),
    };
    Negotiation::resume(Pace::default(), record, now(0))
}

fn now(seconds: u64) -> Now {
    Now {
        monotonic: MonotonicTime(Duration::from_secs(seconds)),
        utc: UtcTime(1_000 + seconds),
    }
}

/// Serves the slot of a hundred seconds, where clients bounce in the receipt intervals of these numbers, as late as this; what is due in
/// seconds at each receipt, and at the end. Receipts are sent at the second 1, 11, 21, …
fn dues(availability_ppm: u32, bounced: &[u64], at_most: u64) -> (Vec<u128>, u128) {
    let mut negotiation = running(availability_ppm);
    let mut dues = Vec::new();
    for second in 0..=95_u64 {
        let number = second.checked_sub(2).map(|since| since / 10);
        if number.is_some_and(|number| bounced.contains(&number)) {
            (1..=5).for_each(|number| negotiation.hear(bounce(number, at_most)));
        }
        negotiation.handle_health(true, now(second));
        for _ in 0..4 {
            match negotiation.poll_action(now(second)) {
                Some(Action::SendReceipt(_, due)) => {
                    dues.push(due.units / 1_000);
                    negotiation.handle_done(now(second));
                }
                Some(Action::ReadLedger(_)) => {
                    negotiation.handle_ledger(None, ChainTime(1_000 + second), now(second));
                }
                _ => {}
            }
        }
    }
    negotiation.poll_action(now(100));
    assert_eq!(*negotiation.state(), NegotiationState::Settling);
    (dues, negotiation.due().units / 1_000)
}

#[test]
fn a_missed_interval_is_not_paid_and_the_others_are() {
    let (kept, end) = dues(1_000_000, &[2, 5], PROMISE_MS);
    assert_eq!(end, 100, "{kept:?}");
    let (missed, end) = dues(1_000_000, &[2, 5], 60);
    assert!((75..=85).contains(&end), "{missed:?} {end}");
    assert!(missed.is_sorted(), "receipts never take back: {missed:?}");
    let differences: Vec<_> = kept.iter().zip(&missed).map(|(a, b)| a - b).collect();
    assert!(
        differences.contains(&0) && differences.is_sorted(),
        "{differences:?}"
    );
}

#[test]
fn the_promised_availability_covers_missed_intervals_as_it_does_outages() {
    let (_, end) = dues(750_000, &[2, 5], 60);
    assert_eq!(end, 100);
    let (_, end) = dues(750_000, &[1, 3, 5, 7], 60);
    assert!((55..=65).contains(&end), "{end}");
}

#[test]
fn intervals_outlive_the_process() {
    let mut negotiation = running(0);
    (1..=5).for_each(|number| negotiation.hear(bounce(number, 60)));
    for second in 0..=15 {
        negotiation.handle_health(true, now(second));
        negotiation.poll_action(now(second));
        negotiation.handle_done(now(second));
    }
    let before: Vec<_> = negotiation.intervals().cloned().collect();
    assert!(
        before.iter().any(|it| it.verdict == Verdict::Missed),
        "{before:?}"
    );
    let record = negotiation.record(now(15)).unwrap();
    let served = record.served;
    let again = Negotiation::resume(Pace::default(), record, now(15));
    assert_eq!(again.intervals().cloned().collect::<Vec<_>>(), before);
    assert_eq!(again.record(now(15)).unwrap().served, served);
}
