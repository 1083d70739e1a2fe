//! sha-256 over what passes by.

use std::io::{self, Read, Write};

use edge_types::ImageDigest;
use sha2::{Digest as _, Sha256};

/// The digest of `bytes`.
pub fn digest_of(bytes: &[u8]) -> ImageDigest {
    ImageDigest(Sha256::digest(bytes).into())
}

/// The 64 hexadecimal digits of a digest, the name of its blob in a layout.
pub fn hex(digest: &ImageDigest) -> String {
    let text = digest.to_string();
    text.trim_start_matches("sha256:").to_owned()
}

/// Hashes and counts what is written to, or read from, the inner stream.
#[derive(Debug)]
pub struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    count: u64,
}

impl<T> Hashing<T> {
    /// Starts with nothing hashed.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            count: 0,
        }
    }

    /// Octets so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The inner stream, the digest and the count.
    pub fn finish(self) -> (T, ImageDigest, u64) {
        (
            self.inner,
            ImageDigest(self.hasher.finalize().into()),
            self.count,
        )
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.count += bytes.len() as u64;
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.passed(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.passed(&buffer[..read]);
        Ok(read)
    }
}
