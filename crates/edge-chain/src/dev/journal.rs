//! What is kept on disk: the parameters, and each block's time and transaction.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use alloy::primitives::{B256, Bytes};
use serde::{Deserialize, Serialize};

use super::DevChainError;

/// Longest line that is read back; a transaction of the largest request body fits.
const MAX_LINE: u64 = 4 * 1024 * 1024;

/// The stored blocks cannot be executed again.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file could not be read or cut.
    #[error("reading failed")]
    Read(#[source] io::Error),
    /// A line that is not the last one is not a block.
    #[error("line {line} is not a block")]
    Line {
        /// Its number, from 1.
        line: u64,
    },
    /// Executing a block again gave another block.
    #[error("block {number} does not come out as it was stored")]
    Differs {
        /// The block.
        number: u64,
    },
}

/// Parameters of a chain, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Genesis {
    pub(super) format: u32,
    pub(super) chain_id: u64,
    /// Account to decimal wei, in order of accounts.
    pub(super) fund: std::collections::BTreeMap<String, String>,
    /// Hash of the escrow's runtime code, if one was deployed.
    pub(super) escrow_code_hash: Option<B256>,
    /// Time of block 0; not a parameter, so it is not compared.
    pub(super) timestamp: u64,
}

/// One block, as stored: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StoredBlock {
    pub(super) number: u64,
    pub(super) timestamp: u64,
    pub(super) hash: B256,
    /// The signed transaction, EIP-2718 encoded; `None` for a block that only tells the time.
    pub(super) transaction: Option<Bytes>,
}

/// The open directory of a chain. Held locked as long as this lives.
#[derive(Debug)]
pub(super) struct Journal {
    blocks: File,
    path: PathBuf,
    _lock: File,
}

impl Journal {
    /// Opens or makes the directory. `genesis` is stored if there is none yet, and compared otherwise; what counts is
    /// returned.
    pub(super) fn open(dir: &Path, genesis: Genesis) -> Result<(Self, Genesis), DevChainError> {
        let failed = |attempted, path: &Path| {
            let path = path.to_owned();
            move |cause| DevChainError::Data {
                attempted,
                path,
                cause,
            }
        };
        fs::create_dir_all(dir).map_err(failed("making directory", dir))?;

        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(failed("making", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DevChainError::InUse { path: lock_path });
            }
            Err(TryLockError::Error(cause)) => {
                return Err(failed("locking", &lock_path)(cause));
            }
        }

        let genesis_path = dir.join("genesis.json");
        let genesis = match fs::read(&genesis_path) {
            Ok(stored) => {
                let stored = serde_json::from_slice(&stored)
                    .map_err(|cause| failed("reading", &genesis_path)(cause.into()))?;
                compare(&genesis_path, &genesis, stored)?
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let text = serde_json::to_vec_pretty(&genesis)
                    .map_err(|cause| failed("writing", &genesis_path)(cause.into()))?;
                replace(&genesis_path, &text).map_err(failed("writing", &genesis_path))?;
                genesis
            }
            Err(cause) => return Err(failed("reading", &genesis_path)(cause)),
        };

        let path = dir.join("blocks.jsonl");
        let blocks = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(failed("opening", &path))?;
        let journal = Self {
            blocks,
            path,
            _lock: lock,
        };
        Ok((journal, genesis))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Every stored block, in order. A last line without its end is cut off.
    pub(super) fn load(&mut self) -> Result<Vec<StoredBlock>, JournalError> {
        self.blocks
            .seek(SeekFrom::Start(0))
            .map_err(JournalError::Read)?;
        let mut reader = BufReader::new(&self.blocks);
        let mut blocks = Vec::new();
        let mut good = 0;
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let read = io::Read::take(&mut reader, MAX_LINE)
                .read_until(b'\n', &mut text)
                .map_err(JournalError::Read)? as u64;
            if read == 0 {
                break;
            }
            if read == MAX_LINE {
                return Err(JournalError::Line { line });
            }
            if !text.ends_with(b"\n") {
                tracing::warn!(
                    path = %self.path.display(),
                    kept_octets = good,
                    "the last block was only half written; cutting it off"
                );
                self.blocks.set_len(good).map_err(JournalError::Read)?;
                break;
            }
            let block = serde_json::from_slice(&text).map_err(|_| JournalError::Line { line })?;
            blocks.push(block);
            good += read;
        }
        Ok(blocks)
    }

    /// Appends a block. One with a transaction is on the disk when this returns.
    pub(super) fn append(&mut self, block: &StoredBlock) -> io::Result<()> {
        let mut line = serde_json::to_vec(block)?;
        line.push(b'\n');
        let end = self.blocks.metadata()?.len();
        let written = self.blocks.write_all(&line).and_then(|()| {
            if block.transaction.is_some() {
                self.blocks.sync_data()
            } else {
                Ok(())
            }
        });
        if written.is_err() {
            // Half a line in the middle would stop the next start.
            self.blocks.set_len(end)?;
        }
        written
    }
}

fn compare(path: &Path, wanted: &Genesis, stored: Genesis) -> Result<Genesis, DevChainError> {
    let differs = [
        ("format", wanted.format != stored.format),
        ("chain id", wanted.chain_id != stored.chain_id),
        ("funding", wanted.fund != stored.fund),
        ("escrow", wanted.escrow_code_hash != stored.escrow_code_hash),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        Some((parameter, _)) => Err(DevChainError::OtherGenesis {
            path: path.to_owned(),
            parameter,
        }),
        None => Ok(stored),
    }
}

/// Writes a file so that it is either not there or complete.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&part, path)
}
