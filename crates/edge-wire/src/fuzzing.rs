//! What fuzzers and tests throw bytes at: every message of the API.

use std::fmt::Debug;

use edge_types::{ChainAddress, UtcTime};

use crate::contract::ContractFile;
use crate::listing::{WellKnown, read_feed};
use crate::message::{
    AgreementRequest, AgreementView, CloseRequest, Deployment, DeploymentView, Greeting, Hello,
    OfferMessage, Offers, ReceiptMessage, Reservation, ReservationRequest,
};
use crate::nel::failed_servers;
use crate::problem::{ProblemJson, read_problem};
use crate::relay::RelayLine;
use crate::services::Services;
use crate::{Message, decode, encode};

/// Takes `body` as each of the messages.
///
/// # Panics
/// If what was read is not read back from what is written of it.
pub fn messages(body: &[u8]) {
    again::<Greeting>(body);
    again::<Hello>(body);
    again::<OfferMessage>(body);
    again::<Offers>(body);
    again::<ReservationRequest>(body);
    again::<Reservation>(body);
    again::<AgreementRequest>(body);
    again::<AgreementView>(body);
    again::<Deployment>(body);
    again::<DeploymentView>(body);
    again::<ReceiptMessage>(body);
    again::<CloseRequest>(body);
    again::<ContractFile>(body);
    again::<ProblemJson>(body);
    again::<Services>(body);
    again::<WellKnown>(body);
    again::<RelayLine>(body);
    let _some_sites = read_feed(body, ChainAddress([0; 20]), UtcTime(0));
    let _some_failures = failed_servers(body);
    let _some_problem = read_problem(500, body);
}

fn again<T: Message + PartialEq + Debug>(body: &[u8]) {
    if let Ok(message) = decode::<T>(body) {
        let written = encode(&message);
        let read = decode::<T>(&written).ok();
        assert_eq!(
            read.as_ref(),
            Some(&message),
            "what is written is read back"
        );
    }
}
