//! On which conditions sites are let, and the book's own bounds.

use edge_types::{
    Amount, ChainAddress, Guarantee, HardwareProfile, IepId, Settlement, SiteConditions, SlaTerms,
};

/// One site and the conditions on which it is let.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteTerms {
    /// Its entry point.
    pub site: IepId,
    /// The key that signs and is paid.
    pub provider: ChainAddress,
    /// All the hardware that can be let.
    pub capacity: HardwareProfile,
    /// Price of one second of one lease.
    pub price_per_second: Amount,
    /// The promises.
    pub sla: SlaTerms,
    /// What stands behind them.
    pub guarantee: Guarantee,
    /// What the site is and takes.
    pub conditions: SiteConditions,
    /// How it is paid.
    pub settlement: Settlement,
    /// False: every agreement is rejected, however well paid.
    pub accepts: bool,
}

/// The book's own bounds; the defaults suit leases of minutes to hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookLimits {
    /// How long an offer can be accepted, seconds; at most 600 (security rule 8).
    pub offer_seconds: u64,
    /// How long a reservation waits for the money, seconds.
    pub time_to_commit_seconds: u64,
    /// How far ahead a slot may start, seconds.
    pub horizon_seconds: u64,
    /// Unfunded reservations of one buyer over all sites.
    pub reservations_per_buyer: u32,
    /// Unfunded reservations of all buyers at one site hold at most this percentage of its hardware in any period, and half
    /// of that from one source …
    pub unfunded_percent: u32,
    /// … but so many of them do not count, half of them from one source: small sites can be reserved at all, and a single
    /// source cannot keep everybody else out.
    pub unfunded_at_least: u32,
    /// Agreements kept, closed ones included.
    pub agreements: usize,
    /// How long before its slot a workload may be deployed, seconds.
    pub deploy_lead_seconds: u64,
    /// How long after the slot to wait for the buyer's final receipt, seconds.
    pub final_receipt_seconds: u64,
    /// Stop serving after this many receipt intervals without a receipt, or that were served beyond what the buyer
    /// acknowledged …
    pub missed_receipts: u32,
    /// … but not before this time, seconds: a workload that is being pulled and started earns no receipt yet.
    pub patience_at_least_seconds: u64,
    /// How long a closed agreement can still be read, seconds.
    pub keep_closed_seconds: u64,
    /// What runs is compared with the ledger at least this often, seconds; more often where the notice period is short.
    pub compare_seconds: u64,
}

impl Default for BookLimits {
    fn default() -> Self {
        Self {
            offer_seconds: 300,
            time_to_commit_seconds: 120,
            horizon_seconds: 7 * 86_400,
            reservations_per_buyer: 8,
            unfunded_percent: 20,
            unfunded_at_least: 2,
            agreements: 1024,
            deploy_lead_seconds: 30,
            final_receipt_seconds: 10,
            missed_receipts: 3,
            patience_at_least_seconds: 60,
            keep_closed_seconds: 3600,
            compare_seconds: 30,
        }
    }
}
