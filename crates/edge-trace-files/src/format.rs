//! The formats, their names, and how a file shows which one it is.

use std::fmt;
use std::str::FromStr;

/// What a file of paths looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Our own: one JSON object per line (see [`write_json_line`](crate::write_json_line)).
    JsonLines,
    /// What `sc_warts2json` and `scamper -O json` print.
    ScamperJson,
    /// Scamper's binary files, warts(5).
    Warts,
    /// Traceroute results of RIPE Atlas: an array, or one object per line.
    Atlas,
    /// What `traceroute` prints on Linux and the BSDs.
    Traceroute,
    /// `nmap --traceroute -oX`.
    Nmap,
    /// Routes of the tool `rtrack`: `Target:`, `TTL:`, and one line per hop.
    Rtrack,
    /// A topology map made in advance: our own text of links or paths (see below).
    ///
    /// The first line is `exec-map 1`. Then one statement a line; `#` begins a comment.
    ///
    /// | statement | meaning |
    /// |---|---|
    /// | `root ADDRESS` | where paths begin; not itself a hop |
    /// | `link ADDRESS ADDRESS [MS]` | two neighbours, and the one-way delay between them |
    /// | `target ADDRESS` | a path to this address is wanted; without any, to all that have one link only |
    /// | `path TARGET HOP…` | a whole path; a hop is `ADDRESS`, `ADDRESS=RTT_MS` or `*` |
    ///
    /// Over links a path takes the least delay if all links tell theirs, else the fewest links; ties go to the lower
    /// address.
    Map,
}

/// Nothing that this crate reads begins like this, or there is no format of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of the formats {}", Names)]
pub struct UnknownFormat;

struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, format) in Format::ALL.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{format}")?;
        }
        Ok(())
    }
}

/// Where the marks of a format have to be.
const HEAD: usize = 4096;

impl Format {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::JsonLines,
        Self::ScamperJson,
        Self::Warts,
        Self::Atlas,
        Self::Traceroute,
        Self::Nmap,
        Self::Rtrack,
        Self::Map,
    ];

    /// What the first bytes of a file show; `None` if nothing known.
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0x12, 0x05]) {
            return Some(Self::Warts);
        }
        let head = &bytes[..bytes.len().min(HEAD)];
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let head = head.trim_ascii_start();
        let has = |mark: &str| head.windows(mark.len()).any(|part| part == mark.as_bytes());
        match head.first()? {
            b'<' => (has("nmaprun") || has("<host")).then_some(Self::Nmap),
            b'{' | b'[' if has("\"dst_addr\"") || has("\"prb_id\"") => Some(Self::Atlas),
            b'{' | b'[' if has("\"target\"") => Some(Self::JsonLines),
            b'{' | b'[' if has("\"type\"") => Some(Self::ScamperJson),
            b'{' | b'[' => None,
            _ => head
                .split(|octet| *octet == b'\n')
                .find_map(Self::of_a_line),
        }
    }

    /// Warnings and comments may come before the line that shows the format.
    fn of_a_line(line: &[u8]) -> Option<Self> {
        let begins = |mark: &str| line.starts_with(mark.as_bytes());
        if begins("exec-map ") {
            Some(Self::Map)
        } else if begins("traceroute to ") || begins("traceroute6 to ") {
            Some(Self::Traceroute)
        } else if begins("Target: ") {
            Some(Self::Rtrack)
        } else {
            None
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "json-lines",
            Self::ScamperJson => "scamper-json",
            Self::Warts => "warts",
            Self::Atlas => "atlas",
            Self::Traceroute => "traceroute",
            Self::Nmap => "nmap",
            Self::Rtrack => "rtrack",
            Self::Map => "map",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or(UnknownFormat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("pcap".parse::<Format>(), Err(UnknownFormat));
        let told = UnknownFormat.to_string();
        assert!(told.contains("json-lines, scamper-json"), "{told}");
    }

    #[test]
    fn the_first_bytes_show_the_format() {
        for (head, format) in [
            ("\x12\x05\0\x01", Some(Format::Warts)),
            ("{\"target\":\"240.0.0.1\"", Some(Format::JsonLines)),
            ("{\"type\":\"cycle-start\"", Some(Format::ScamperJson)),
            (
                "[{\"fw\":1,\"type\":\"traceroute\",\"dst_addr\":",
                Some(Format::Atlas),
            ),
            (
                "<?xml version=\"1.0\"?>\n<!DOCTYPE nmaprun>",
                Some(Format::Nmap),
            ),
            ("\n#\nTarget: 240.0.0.1\n", Some(Format::Rtrack)),
            ("\u{feff}exec-map 1\n", Some(Format::Map)),
            (
                "traceroute to x (240.0.0.1), 30 hops",
                Some(Format::Traceroute),
            ),
            (
                "warning: slow\ntraceroute to x (240.0.0.1)",
                Some(Format::Traceroute),
            ),
            ("<html>", None),
            ("{\"colour\":1}", None),
            ("", None),
            ("\x1f\u{8b}", None),
        ] {
            assert_eq!(Format::detect(head.as_bytes()), format, "{head:?}");
        }
    }
}
