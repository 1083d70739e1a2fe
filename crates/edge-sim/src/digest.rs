//! A number for a text, by which equal results are told from others (FNV-1a, 64 bits).

use std::fmt;

struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for octet in text.bytes() {
            self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3);
        }
        Ok(())
    }
}

/// The number of a text.
pub(crate) fn of(text: fmt::Arguments<'_>) -> u64 {
    let mut digest = Fnv(0xcbf2_9ce4_8422_2325);
    let written = fmt::write(&mut digest, text);
    debug_assert!(written.is_ok());
    digest.0
}
