//! Bounds on what strangers may send, and the checks that hold them.

use edge_types::{HardwareProfile, SlaTerms, Slot, UtcTime};

use crate::WireError;

/// Longest lease: 31 days.
const MAX_SLOT_SECONDS: u64 = 31 * 24 * 3600;
/// Times are below this, the year 3058: sums of two of them and a lease cannot overflow.
const MAX_TIME: u64 = 1 << 35;

/// `Ok` if `holds`, or else the refusal of `field`.
pub(crate) fn require(
    holds: bool,
    field: &'static str,
    expected: &'static str,
) -> Result<(), WireError> {
    if holds {
        Ok(())
    } else {
        Err(WireError::Field { field, expected })
    }
}

/// Far enough from the end of numbers for sums.
pub(crate) fn is_time(time: UtcTime) -> bool {
    time.0 < MAX_TIME
}

pub(crate) fn slot(slot: &Slot) -> Result<(), WireError> {
    let seconds = slot.seconds();
    require(
        seconds > 0 && seconds <= MAX_SLOT_SECONDS && slot.end.0 < MAX_TIME,
        "slot",
        "start before end, at most 31 days apart",
    )
}

pub(crate) fn hardware(hardware: &HardwareProfile) -> Result<(), WireError> {
    require(
        hardware.milli_cpu > 0 && hardware.memory_bytes > 0 && hardware.pids > 0,
        "hardware",
        "no part is zero",
    )
}

/// A longer round trip promises nothing.
pub(crate) const MAX_ROUND_TRIP_MS: u32 = 60_000;

pub(crate) fn sla(sla: &SlaTerms) -> Result<(), WireError> {
    require(
        sla.availability_ppm <= 1_000_000,
        "sla.availability_ppm",
        "at most a million",
    )?;
    require(
        sla.round_trip_ms <= MAX_ROUND_TRIP_MS,
        "sla.round_trip_ms",
        "at most a minute",
    )
}

/// Printable text without control characters, of at most `longest` octets.
pub(crate) fn text(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.chars().any(char::is_control)
}

/// [`text`] without the format characters that make a reader see another order than there is.
pub(crate) fn shown_text(shown: &str, longest: usize) -> bool {
    let reorders = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text(shown, longest) && !shown.contains(reorders)
}

/// An `http` or `https` URL with an authority that names a host and nobody's account.
pub(crate) fn is_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    url.len() <= 255
        && url.bytes().all(|byte| byte.is_ascii_graphic())
        && rest.is_some_and(|rest| {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            !authority.is_empty() && !authority.contains('@')
        })
}

/// `http://authority` and nothing more: what a `Location` may start with.
pub(crate) fn is_origin(url: &str) -> bool {
    url.len() <= 255
        && url.strip_prefix("http://").is_some_and(|authority| {
            !authority.is_empty()
                && authority.bytes().all(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
                })
        })
}

/// An absolute path of printable ASCII without spaces.
pub(crate) fn is_path(path: &str) -> bool {
    path.len() <= 255 && path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A repository name of the OCI distribution specification, as far as it needs no escaping.
pub(crate) fn is_repository(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.bytes().all(|byte| {
                    byte.is_ascii_lowercase()
                        || byte.is_ascii_digit()
                        || matches!(byte, b'.' | b'_' | b'-')
                })
        })
}

/// A portable name of an environment variable.
pub(crate) fn is_variable_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
