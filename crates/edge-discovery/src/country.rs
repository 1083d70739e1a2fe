//! The country that an address is registered in, from tables: lines `first,last,CC` (the columns of the npm packages
//! `@ip-location-db/*-country`), and our own `prefix CC`.

use edge_types::Country;

use crate::ranges::{RangeValue, Ranges};

/// A table in memory.
pub type CountryRanges = Ranges<Country>;

impl RangeValue for Country {
    fn of_range(rest: &str) -> Result<Self, &'static str> {
        let code = rest.split(',').next().unwrap_or_default();
        code.trim_matches('"')
            .parse()
            .map_err(|_| "the country is not two letters")
    }

    fn of_prefix(words: &[&str]) -> Result<Self, &'static str> {
        Self::of_range(words.first().copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_line_formats_are_read() {
        let table = CountryRanges::read(
            "240.1.0.0,240.1.255.255,FI\n240.2.0.0,240.2.0.255,\"se\"\n240.1.2.0/24 NO ours\n\
             240.3.0.0,240.3.0.1,Norway\n",
        );
        let at = |address: &str| {
            table
                .find(address.parse().unwrap())
                .map(|(_, found)| *found)
        };
        let country = |code: &str| Some(code.parse::<Country>().unwrap());
        assert_eq!(at("240.1.1.1"), country("FI"));
        assert_eq!(at("240.1.2.1"), country("NO"));
        assert_eq!(at("240.2.0.9"), country("SE"));
        assert_eq!(at("240.3.0.0"), None);
        assert_eq!((table.len(), table.refused), (3, 1));
    }
}
