//! Both sides of an agreement as state machines, and the escrow's reference model.
//!
//! The flow is that of section 2.3 of the paper: hello, offers, green-list, (placement), reservation, money into escrow,
//! positive acknowledgment, confirmation or rejection, service, and the money's division. [`orchestrator::Negotiation`]
//! is one IEP as its buyer sees it, [`provider::ProviderBook`] all buyers as one provider sees them, and
//! [`escrow::Escrow`] what the contract between them must do.
//!
//! All of it is sans-IO: messages and time come in by `handle_…` methods, what to do comes out of `poll_action`, and
//! when to come back out of `poll_timeout`. Signatures are checked by the caller (`edge-wire`), who says so in
//! [`green_list::Evidence`]; only a [`green_list::GreenListed`] offer is ever paid.

pub mod escrow;
pub mod green_list;
pub mod orchestrator;
pub mod provider;
pub mod spending;

pub use green_list::{
    Evidence, GreenListPolicy, GreenListRefusal, GreenListed, KeyBinding, green_list,
};
pub use orchestrator::{
    Action, FEWEST_OF_ONE, Heard, Interval, Negotiation, NegotiationFailure, NegotiationRecord,
    NegotiationState, Now, Pace, Verdict, is_too_short,
};
pub use provider::{
    Agreement, Answer, BookLimits, Change, Division, Ending, ProviderAction, ProviderBook,
    Reservation, Seen, SiteTerms, Stage,
};
pub use spending::{Spending, SpendingCaps, SpendingRefusal};
