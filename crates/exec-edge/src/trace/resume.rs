//! The file that a run is continued from: JSON lines, one for each target that is done.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, anyhow};
use serde::Deserialize;

use edge_console::exit::Failure;

/// Longest line that is read: a path of 255 hops with 16 samples each is a tenth of it.
const LONGEST: u64 = 1 << 20;

/// How every line begins.
const BEGINNING: &[u8] = b"{\"target\":";

/// What the file says, and the file, to be appended to.
#[derive(Debug)]
pub(super) struct Earlier {
    pub(super) done: BTreeSet<IpAddr>,
    /// Of these, how many were reached.
    pub(super) reached: usize,
    /// The last line was cut, and dropped.
    pub(super) is_repaired: bool,
    pub(super) file: File,
}

#[derive(Deserialize)]
struct Record {
    target: IpAddr,
    end: String,
}

impl Earlier {
    /// Opens the file, or makes it, and drops a last line that an interruption has cut.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path);
        let mut file = file
            .with_context(|| format!("opening {shown}"))
            .map_err(Failure::usage)?;
        if file.try_lock().is_err() {
            let error = anyhow!("{shown} is being written to by another run");
            return Err(Failure::usage(error).with_hint("wait for its end, or name another file"));
        }
        let (mut done, mut reached) = (BTreeSet::new(), 0);
        let (mut whole, mut tail) = (0, Tail::Whole);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let bounded = &mut reader.by_ref().take(LONGEST);
            let read = bounded.read_until(b'\n', &mut line);
            if read.with_context(|| format!("reading {shown}"))? == 0 {
                break;
            }
            match serde_json::from_slice::<Record>(&line) {
                Ok(record) => {
                    done.insert(record.target);
                    reached += usize::from(record.end == "reached");
                    if line.last() != Some(&b'\n') {
                        tail = Tail::Unended;
                    }
                }
                Err(_) if is_cut(&line) => {
                    tail = Tail::Cut;
                    break;
                }
                Err(error) => {
                    let error = anyhow::Error::new(error).context(format!(
                        "{shown}, line {number} is not a path as --output json-lines writes it"
                    ));
                    return Err(Failure::usage(error)
                        .with_hint("correct or remove the line, or name another file"));
                }
            }
            whole += line.len() as u64;
        }
        let mended = match tail {
            Tail::Whole => Ok(()),
            Tail::Unended => file.write_all(b"\n"),
            Tail::Cut => file.set_len(whole),
        };
        mended
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .with_context(|| format!("mending the end of {shown}"))?;
        Ok(Self {
            done,
            reached,
            is_repaired: matches!(tail, Tail::Cut),
            file,
        })
    }
}

/// How the file ends.
enum Tail {
    /// With a whole line.
    Whole,
    /// With a line that lacks only its end.
    Unended,
    /// Within a line.
    Cut,
}

/// Is it the beginning of one of our lines? Nothing else is ever dropped from a file.
fn is_cut(line: &[u8]) -> bool {
    let length = line.len().min(BEGINNING.len());
    line.last() != Some(&b'\n')
        && (line.len() as u64) < LONGEST
        && line[..length] == BEGINNING[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "{\"target\":\"240.16.0.10\",\"end\":\"reached\",\"hops\":[]}\n";
    const SECOND: &str = "{\"target\":\"3fff::1\",\"end\":\"silent\",\"hops\":[]}\n";

    /// Opens a file with this content, appends a line, and gives what was found and what is in the file then.
    fn resumed(content: &str) -> Result<(usize, usize, bool, String), String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("paths");
        std::fs::write(&path, content).unwrap();
        let opened = Earlier::open(&path);
        let left = || std::fs::read_to_string(&path).unwrap();
        let mut earlier = opened.map_err(|error| {
            assert_eq!(left(), content, "a file that is refused stays as it was");
            format!("{error:?}")
        })?;
        earlier.file.write_all(b"more\n").unwrap();
        let Earlier {
            done,
            reached,
            is_repaired,
            ..
        } = earlier;
        Ok((done.len(), reached, is_repaired, left()))
    }

    #[test]
    fn whole_lines_are_kept_and_appended_to() {
        let content = format!("{FIRST}{SECOND}");
        let after = format!("{content}more\n");
        assert_eq!(resumed(&content).unwrap(), (2, 1, false, after));
        assert_eq!(resumed("").unwrap(), (0, 0, false, "more\n".to_owned()));
    }

    #[test]
    fn a_line_cut_anywhere_is_dropped_or_ended() {
        for length in 1..SECOND.len() - 1 {
            let content = format!("{FIRST}{}", &SECOND[..length]);
            let after = format!("{FIRST}more\n");
            assert_eq!(resumed(&content).unwrap(), (1, 1, true, after), "{length}");
        }
        let content = format!("{FIRST}{}", SECOND.trim_end());
        let after = format!("{FIRST}{SECOND}more\n");
        assert_eq!(resumed(&content).unwrap(), (2, 1, false, after));
    }

    #[test]
    fn a_file_of_something_else_is_refused_untouched() {
        for (content, line) in [
            ("240.16.0.10", "line 1"),
            (&*format!("{FIRST}240.16.0.10\n"), "line 2"),
            (&*format!("{FIRST}{{\"target\":\n{SECOND}"), "line 2"),
        ] {
            let error = resumed(content).unwrap_err();
            assert!(error.contains(line), "{error}");
        }
    }
}
