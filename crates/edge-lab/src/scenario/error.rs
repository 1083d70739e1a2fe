//! What can be wrong with a scenario file. Every text is one line with the file, the field and the remedy.

use std::net::IpAddr;

/// A scenario file is not usable. The command line exits with 64 on it.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{file}: cannot read the scenario; give the path of a readable TOML file")]
    Read {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any scenario may be.
    #[error("{file}: larger than 8 MiB; give a smaller scenario")]
    TooLarge {
        /// Its name.
        file: String,
    },
    /// Not TOML, an unknown or missing field, or a value of the wrong type.
    #[error("{file}:{line}: {message}; correct this line")]
    Parse {
        /// Its name.
        file: String,
        /// Line number, from 1.
        line: usize,
        /// What the parser found, naming the field.
        message: String,
    },
    /// The fields contradict each other or the lab's limits.
    #[error("{file}: {field}: {problem}")]
    Invalid {
        /// Its name.
        file: String,
        /// Which field, e.g. `links[3].a`.
        field: String,
        /// What is wrong and what would be right.
        problem: Problem,
    },
}

/// What is wrong with one field, and what would be right.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Another version of the format.
    #[error("format {0} is not known; write format = 1")]
    Format(u32),
    /// More of something than the lab takes.
    #[error("{count} entries, but at most {limit} fit; remove some")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// Nothing where at least one entry is needed.
    #[error("empty; add at least one entry")]
    Empty,
    /// An id, domain or host name that was used before.
    #[error("{0:?} is used twice; rename one")]
    Duplicate(String),
    /// A link that was given before.
    #[error("{0} and {1} are linked twice; remove one link or put a router in between")]
    DuplicateLink(String, String),
    /// An id with characters that reports could not show.
    #[error("{0:?} is not an id; use 1 to 64 letters, digits, '-', '_' or '.'")]
    Id(String),
    /// A router that is not there.
    #[error("no router {0:?}; add it to routers or correct the name")]
    UnknownRouter(String),
    /// A link from a router to itself.
    #[error("a cycle: {0} is linked to itself; remove the link or name another router")]
    SelfLink(String),
    /// A cost of zero.
    #[error("cost 0 allows packets to travel in a cycle; give a cost of at least 1")]
    ZeroCost,
    /// A router that cannot be reached from the cloud.
    #[error("router {0:?} has no way to the cloud; add a link")]
    Disconnected(String),
    /// An address that real hosts could have.
    #[error("{0} is outside the lab's ranges; use 240.0.0.0/4 or 3fff::/20")]
    OutsideLab(String),
    /// More than one address of a family where only one makes sense.
    #[error("two IPv{0} addresses; give at most one")]
    TwoAddresses(u8),
    /// An address that was used before.
    #[error("{0} is used twice, also by {1}; give each its own")]
    AddressTaken(IpAddr, String),
    /// Two networks share addresses.
    #[error("{0} overlaps {1}; give networks that share no address")]
    Overlap(String, String),
    /// A prefix with host bits, or of an odd size.
    #[error(
        "{0} is not a client network; give the network's first address and /16 to /32 (IPv6: /32 to /64)"
    )]
    Prefix(String),
    /// A family that the cloud does not speak.
    #[error(
        "the cloud has no IPv{0} address, so nothing here can reach it; add one to cloud.addresses"
    )]
    CloudFamily(u8),
    /// A number outside its range.
    #[error("{value} is out of range; give a number from {least} to {most}")]
    Range {
        /// What is there.
        value: f64,
        /// The least allowed.
        least: f64,
        /// The most allowed.
        most: f64,
    },
    /// A router's name without its zone, or the reverse.
    #[error("name and zone belong together; give both or none")]
    NameWithoutZone,
    /// A name outside the domain it should be in.
    #[error("{name} is not within {zone}; use a name that ends in .{zone}")]
    OutsideZone {
        /// The name.
        name: String,
        /// Where it should be.
        zone: String,
    },
    /// A domain inside another.
    #[error(
        "{0} lies within {1}; give provider and application domains that do not contain each other"
    )]
    NestedZone(String, String),
    /// Two ways of saying the same.
    #[error("icmp and icmp_rate exclude each other; keep one")]
    TwoRates,
}

impl ScenarioError {
    pub(super) fn parse(file: &str, text: &str, cause: &toml::de::Error) -> Self {
        let start = cause.span().map_or(0, |span| span.start);
        let line = 1 + text
            .bytes()
            .take(start)
            .filter(|octet| *octet == b'\n')
            .count();
        Self::Parse {
            file: file.to_owned(),
            line,
            message: cause
                .message()
                .lines()
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(", "),
        }
    }
}
