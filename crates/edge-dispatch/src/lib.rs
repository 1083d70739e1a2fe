//! Which site a client is sent to, and for how long (paper sections 2.5 and 2.6).
//!
//! The hot path of the front end as pure functions: [`HostPolicy`] says which hosts are ours, [`DispatchTable`] which
//! site serves which client prefix until when, [`answer`] puts both together for one request. There is no IO here, no
//! clock and no lock; the front end swaps whole tables ([`DispatchTable::replace`]) and passes the time in.
//!
//! Whatever is in doubt goes to the cloud (Algorithm 1, lines 20 and 22). A redirect never outlives the paid time
//! behind it (security rule 18), and its location comes from the table alone (rule 17).

mod answer;
mod bounce;
mod host;
mod lookup;
mod returning;
mod table;
mod target;

pub use answer::{Answer, CloudReason, Request, answer};
pub use bounce::{
    BOUNCE_EXPIRES, BOUNCED_PATH, BounceKey, BounceTarget, BounceTicket, MAX_TOKEN_OCTETS,
    MAX_WANTED_OCTETS, Opened, client_network, round_trip_bound,
};
pub use host::{HostClass, HostPolicy, HostRefusal};
pub use returning::{RETURN_MARK, is_returning, mark_returning, strip_return_mark};
pub use table::{
    Decision, DispatchTable, RedirectPolicy, SiteTarget, StaleTable, TableError, UnservedReason,
};
pub use target::{MAX_TARGET_OCTETS, TargetError, check_target, location};
