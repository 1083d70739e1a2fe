//! A file of records, one a line, each with its checksum.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crash;

/// Longest line that is written or read back, octets.
const MAX_LINE: usize = 4 * 1024 * 1024;
/// Hexadecimal digits of a checksum and the space after it.
const PREFIX: usize = 9;
const FORMAT: u32 = 1;

/// An open journal. Held locked as long as this lives.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    kind: String,
    octets: u64,
    _lock: File,
}

/// How far an appended record has to get before [`Journal::append`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// To the kernel: it outlives this process. For what costs nobody anything if the machine loses its power.
    Process,
    /// To the disk: it outlives a power failure.
    Disk,
}

/// A journal and what was in it.
#[derive(Debug)]
pub struct Opened<T> {
    /// The journal, to append to.
    pub journal: Journal,
    /// Its records, oldest first.
    pub records: Vec<T>,
    /// The end that was cut off because it was only half written.
    pub torn: Option<Torn>,
}

/// The end of a journal that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// How many octets.
    pub octets: u64,
}

/// A journal could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("{attempted} {}", path.display())]
    File {
        /// What was being done.
        attempted: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by another process; end that first", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// A record before the last one is damaged, or is not a record of this kind.
    #[error(
        "{}: line {line} is damaged; put the file back from a copy, or move it away to begin anew without what it says",
        path.display()
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// The journal belongs to something else, or to another version of this program.
    #[error("{} holds {found}, not {expected}", path.display())]
    OtherKind {
        /// The journal.
        path: PathBuf,
        /// What it says it holds.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The record is too long to be read back.
    #[error("a record of {octets} octets is too long for {}", path.display())]
    TooLong {
        /// The journal.
        path: PathBuf,
        /// Its length.
        octets: usize,
    },
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    journal: String,
    format: u32,
}

impl Journal {
    /// Opens or makes the journal at `path`, whose folder is made if it is missing. `kind` is written into it and compared.
    pub fn open<T: DeserializeOwned>(path: &Path, kind: &str) -> Result<Opened<T>, JournalError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed("making the folder", folder))?;
        let lock = lock(&path.with_extension("lock"))?;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(failed("opening", path))?;
        let mut journal = Self {
            file,
            path: path.to_owned(),
            kind: kind.to_owned(),
            octets: 0,
            _lock: lock,
        };
        let (records, torn) = journal.load()?;
        Ok(Opened {
            journal,
            records,
            torn,
        })
    }

    /// Reads the records of a journal that another process may have open.
    pub fn peek<T: DeserializeOwned>(path: &Path, kind: &str) -> Result<Vec<T>, JournalError> {
        let file = File::open(path).map_err(failed("opening", path))?;
        Ok(read(&file, path, kind)?.records)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size.
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// Appends a record. If it fails, the journal is as it was before.
    pub fn append<T: Serialize>(&mut self, record: &T, keep: Keep) -> Result<(), JournalError> {
        let line = self.line(record)?;
        crash::point("before a journal record");
        if crash::is_last("in the middle of a journal record") {
            let _ = self.file.write_all(&line[..line.len() / 2]);
            crash::die();
        }
        let written = self.file.write_all(&line).and_then(|()| match keep {
            Keep::Process => Ok(()),
            Keep::Disk => self.file.sync_data(),
        });
        if let Err(cause) = written {
            // Half a line in the middle would stop the next start.
            let _ = self.file.set_len(self.octets);
            return Err(failed("writing", &self.path)(cause));
        }
        self.octets += line.len() as u64;
        crash::point("after a journal record");
        Ok(())
    }

    /// Puts these records in the place of all that there are, at once or not at all.
    pub fn replace<'a, T: Serialize + 'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a T>,
    ) -> Result<(), JournalError> {
        let mut text = self.head()?;
        for record in records {
            text.extend(self.line(record)?);
        }
        let part = self.path.with_extension("part");
        let written = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&part)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        written().map_err(failed("writing", &part))?;
        crash::point("before a rewritten journal takes its place");
        fs::rename(&part, &self.path).map_err(failed("replacing", &self.path))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("writing", folder))?;
        crash::point("after a rewritten journal took its place");
        self.file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(failed("opening", &self.path))?;
        self.octets = text.len() as u64;
        Ok(())
    }

    fn load<T: DeserializeOwned>(&mut self) -> Result<(Vec<T>, Option<Torn>), JournalError> {
        let read = read(&self.file, &self.path, &self.kind)?;
        if let Some(torn) = read.torn {
            tracing::warn!(
                path = %self.path.display(), kept = read.good, cut = torn.octets,
                "the last record was only half written and is cut off"
            );
            self.file
                .set_len(read.good)
                .map_err(failed("cutting", &self.path))?;
        }
        self.octets = read.good;
        if read.good == 0 {
            let head = self.head()?;
            self.file
                .write_all(&head)
                .and_then(|()| self.file.sync_all())
                .map_err(failed("writing", &self.path))?;
            self.octets = head.len() as u64;
        }
        Ok((read.records, read.torn))
    }

    fn head(&self) -> Result<Vec<u8>, JournalError> {
        self.line(&Head {
            journal: self.kind.clone(),
            format: FORMAT,
        })
    }

    fn line<T: Serialize>(&self, record: &T) -> Result<Vec<u8>, JournalError> {
        let json = serde_json::to_vec(record)
            .map_err(|cause| failed("putting into words for", &self.path)(cause.into()))?;
        if json.len() + PREFIX + 1 > MAX_LINE {
            return Err(JournalError::TooLong {
                path: self.path.clone(),
                octets: json.len(),
            });
        }
        let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
        line.extend(json);
        line.push(b'\n');
        Ok(line)
    }
}

struct Contents<T> {
    records: Vec<T>,
    good: u64,
    torn: Option<Torn>,
}

fn read<T: DeserializeOwned>(
    file: &File,
    path: &Path,
    kind: &str,
) -> Result<Contents<T>, JournalError> {
    let total = file.metadata().map_err(failed("reading", path))?.len();
    let damaged = |line| JournalError::Damaged {
        path: path.to_owned(),
        line,
    };
    let mut reader = BufReader::new(file);
    let mut records = Vec::new();
    let (mut good, mut text) = (0, Vec::new());
    for line in 1.. {
        text.clear();
        let read = Read::take(&mut reader, MAX_LINE as u64)
            .read_until(b'\n', &mut text)
            .map_err(failed("reading", path))? as u64;
        if read == 0 {
            break;
        }
        let Some(json) = content(&text) else {
            // Only what was written last can be torn; what others follow is damaged.
            let is_last = good + read >= total;
            if !is_last {
                return Err(damaged(line));
            }
            break;
        };
        if line == 1 {
            check_head(json, path, kind)?;
        } else {
            records.push(serde_json::from_slice(json).map_err(|_| damaged(line))?);
        }
        good += read;
    }
    // Somebody who only looks may see the file grow meanwhile.
    let torn = (good < total).then(|| Torn {
        octets: total - good,
    });
    Ok(Contents {
        records,
        good,
        torn,
    })
}

/// What a line says, if it is whole.
fn content(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (prefix, json) = line.split_at_checked(PREFIX)?;
    let sum = u32::from_str_radix(str::from_utf8(prefix).ok()?.strip_suffix(' ')?, 16).ok()?;
    (crc32fast::hash(json) == sum).then_some(json)
}

fn check_head(json: &[u8], path: &Path, kind: &str) -> Result<(), JournalError> {
    let found = serde_json::from_slice::<Head>(json);
    let told = |head: &Head| format!("{}, format {}", head.journal, head.format);
    let expected = Head {
        journal: kind.to_owned(),
        format: FORMAT,
    };
    match found {
        Ok(found) if found == expected => Ok(()),
        found => Err(JournalError::OtherKind {
            path: path.to_owned(),
            found: found.map_or_else(|_| "something else".to_owned(), |found| told(&found)),
            expected: told(&expected),
        }),
    }
}

fn lock(path: &Path) -> Result<File, JournalError> {
    let lock = File::create(path).map_err(failed("making", path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(cause)) => Err(failed("locking", path)(cause)),
    }
}

fn failed(attempted: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |cause| JournalError::File {
        attempted,
        path,
        cause,
    }
}

#[cfg(test)]
mod tests;
