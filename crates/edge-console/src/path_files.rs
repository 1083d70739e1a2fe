//! Opens files of paths, inflates them where needed, and reads them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use edge_trace_files::{Format, Import, Limits, read};
use flate2::read::MultiGzDecoder;

use crate::exit::Failure;

/// Largest file, and what a compressed one may inflate to: some million traces.
const LARGEST: u64 = 1 << 30;

/// What a file held.
#[derive(Debug)]
pub struct Loaded {
    /// Its paths and what else came of it.
    pub import: Import,
    /// Its size in bytes, inflated.
    pub bytes: usize,
    /// How long opening, inflating and reading took.
    pub took: Duration,
}

/// Reads `file`, which may be compressed by gzip, in `format` or the one that it shows.
pub fn load(file: &Path, format: Option<Format>) -> Result<Loaded, Failure> {
    let begun = Instant::now();
    let shown = file.display();
    let bytes = contents(file)
        .with_context(|| format!("reading {shown}"))
        .map_err(Failure::usage)?;
    let import = read(&bytes, format, &Limits::default()).map_err(|error| {
        Failure::usage(anyhow::Error::new(error).context(shown.to_string()))
            .with_hint("name it with --format if it is one of them")
    })?;
    Ok(Loaded {
        import,
        bytes: bytes.len(),
        took: begun.elapsed(),
    })
}

/// The bytes of `file`, inflated if it is compressed by gzip.
pub fn contents(file: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = bounded(File::open(file)?)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return bounded(MultiGzDecoder::new(&bytes[..]));
    }
    Ok(bytes)
}

/// All that `source` has, if it is not too much.
fn bounded(source: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(anyhow!("larger than {} MiB", LARGEST >> 20));
    }
    Ok(bytes)
}
