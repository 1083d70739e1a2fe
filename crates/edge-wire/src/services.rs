//! What a site offers to clients nearby (paper section 4: context-specific applications and services).

use serde::{Deserialize, Serialize};

use crate::limits::{self, require};
use crate::{Message, WireError};

/// Answer to `GET /services`. Anybody may ask; whether it is answered is the owner's to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// At most [`Services::MOST`].
    pub services: Vec<ServiceListing>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceListing {
    /// Its name, 1 to 64 octets without line breaks.
    pub name: String,
    /// What it is for, in a sentence of at most 256 octets.
    #[serde(default)]
    pub description: String,
    /// Where it is used: `http` or `https`, at most 255 octets. A hint from a stranger: it is shown, never opened.
    pub url: String,
}

impl Services {
    /// Longest list.
    pub const MOST: usize = 64;
}

impl Message for Services {
    fn validate(&self) -> Result<(), WireError> {
        require(self.services.len() <= Self::MOST, "services", "at most 64")?;
        self.services.iter().try_for_each(ServiceListing::validate)
    }
}

impl ServiceListing {
    /// Checks lengths and characters.
    ///
    /// # Errors
    /// The field that is not acceptable.
    pub fn validate(&self) -> Result<(), WireError> {
        require(
            !self.name.is_empty() && limits::shown_text(&self.name, 64),
            "services.name",
            "1 to 64 octets of plain text",
        )?;
        require(
            limits::shown_text(&self.description, 256),
            "services.description",
            "at most 256 octets of plain text",
        )?;
        require(
            limits::is_url(&self.url),
            "services.url",
            "http:// or https:// and an authority, at most 255 octets",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    fn listing(name: &str, description: &str, url: &str) -> ServiceListing {
        ServiceListing {
            name: name.to_owned(),
            description: description.to_owned(),
            url: url.to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let services = Services {
            services: vec![listing(
                "pitch view",
                "The game from every seat",
                "http://edge.isp.example:8080/view",
            )],
        };
        assert_eq!(decode::<Services>(&encode(&services)).unwrap(), services);
        let newer = br#"{"services":[{"name":"a","url":"https://a.example","rating":5}],"more":1}"#;
        assert_eq!(
            decode::<Services>(newer).unwrap().services[0].description,
            ""
        );
    }

    #[test]
    fn what_could_deceive_or_flood_a_reader_is_refused() {
        let good = ("a", "b", "http://a.example/");
        let overlong = "x".repeat(300);
        for (name, description, url) in [
            ("", good.1, good.2),
            ("a\nb", good.1, good.2),
            ("a\u{202e}b", good.1, good.2),
            (good.0, "\u{1b}[2J", good.2),
            (good.0, "\u{2066}b", good.2),
            (good.0, &overlong, good.2),
            (good.0, good.1, "javascript:alert(1)"),
            (good.0, good.1, "http://"),
            (good.0, good.1, "http:///path"),
            (good.0, good.1, "http://a b/"),
            (good.0, good.1, "http://user@a.example/"),
        ] {
            let services = Services {
                services: vec![listing(name, description, url)],
            };
            assert!(services.validate().is_err(), "{services:?}");
        }
        let many = Services {
            services: vec![listing(good.0, good.1, good.2); Services::MOST + 1],
        };
        assert!(many.validate().is_err());
    }
}
