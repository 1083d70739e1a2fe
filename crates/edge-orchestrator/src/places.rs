//! Where sites are, as far as tables tell: for operators who may not serve from everywhere.

use std::net::IpAddr;
use std::sync::Arc;

use edge_discovery::{CountryRanges, OriginTable};
use edge_placement::Whereabouts;

/// Tables of addresses.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Who announces which addresses.
    pub origins: Option<Arc<dyn OriginTable>>,
    /// Which addresses are in which country.
    pub countries: Option<Arc<CountryRanges>>,
}

impl Places {
    /// Where this address is.
    pub fn of(&self, address: IpAddr) -> Whereabouts {
        let country = self.countries.as_ref();
        let origin = self.origins.as_ref();
        Whereabouts {
            country: country.and_then(|table| table.find(address).map(|(_, country)| *country)),
            asn: origin.and_then(|table| table.origin(address).map(|origin| origin.asn)),
        }
    }
}
