//! Who holds an address.

use std::fmt;
use std::net::IpAddr;

use edge_discovery::OwnerAnswer;

use crate::BoxFuture;

/// Asks registries or tables for the holder of an address, where no name of it tells (paper section 2.2, step 2: whois).
pub trait PrefixOwner: Send + Sync + fmt::Debug {
    /// Asks for one holder. Time-outs and the pace of each server are the adapter's business. No answer is
    /// [`OwnerAnswer::Unanswered`], never "nobody".
    fn owner(&self, address: IpAddr) -> BoxFuture<'_, OwnerAnswer>;
}
