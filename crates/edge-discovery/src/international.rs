//! Internationalised names: on the wire as A-labels, for people as U-labels (RFC 5890).

use edge_types::{DnsName, DnsNameError};

/// The name with each A-label as the Unicode text that it stands for. A label that stands for none stays as it is.
pub(crate) fn in_unicode(name: &DnsName) -> String {
    if !name.labels().any(|label| label.starts_with("xn--")) {
        return name.to_string();
    }
    let labels: Vec<String> = name
        .labels()
        .map(|label| match idna::domain_to_unicode(label) {
            (text, Ok(())) => text,
            (_, Err(_)) => label.to_owned(),
        })
        .collect();
    labels.join(".")
}

/// How a name is shown to people: `r1.xn--mller-kva.example (r1.müller.example)`. The A-labels come first, since two names
/// that look alike in Unicode differ in them.
pub fn shown(name: &DnsName) -> String {
    let text = in_unicode(name);
    if text == name.as_str() {
        text
    } else {
        format!("{name} ({text})")
    }
}

/// The name that people write, in Unicode or not, as it goes to the DNS.
///
/// # Errors
/// It is no name.
pub fn from_people(text: &str) -> Result<DnsName, DnsNameError> {
    if text.is_ascii() {
        return text.parse();
    }
    match idna::domain_to_ascii(text) {
        Ok(ascii) => ascii.parse(),
        // The error names the first character that cannot be.
        Err(_) => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_labels_are_shown_with_what_they_stand_for() {
        for (wire, want) in [
            ("r1.isp.example", "r1.isp.example"),
            (
                "r1.xn--mller-kva.example",
                "r1.xn--mller-kva.example (r1.müller.example)",
            ),
            // no valid A-label, and one that hides a slash
            ("xn--a.example", "xn--a.example"),
        ] {
            assert_eq!(shown(&wire.parse().unwrap()), want);
        }
    }

    #[test]
    fn people_write_either_form() {
        for text in ["MÜLLER.example", "müller.example.", "xn--mller-kva.example"] {
            let name = from_people(text).unwrap();
            assert_eq!(name.as_str(), "xn--mller-kva.example", "{text}");
        }
        assert!(from_people("a/ü.example").is_err());
        assert!(from_people("").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,80}", label in "xn--[a-z0-9-]{0,40}[a-z0-9]") {
            if let Ok(name) = from_people(&text) {
                let _ = shown(&name);
            }
            if let Ok(name) = format!("r.{label}.example").parse() {
                prop_assert!(shown(&name).starts_with("r.xn--"));
            }
        }
    }
}
