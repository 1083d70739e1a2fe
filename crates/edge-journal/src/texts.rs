//! Texts by their hash: what was agreed to in words can be read after whoever wrote it is gone.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// No text is larger, in octets; a file that is was not written by us.
const MOST: u64 = 1 << 20;

/// A directory with a file for each text.
#[derive(Clone, Debug)]
pub struct Texts {
    directory: PathBuf,
}

impl Texts {
    /// Below a state directory. It is made with the first text.
    pub fn below(state_directory: &Path) -> Self {
        Self {
            directory: state_directory.join("texts"),
        }
    }

    /// The file of the text with this hash, in hexadecimal, whether or not it is there.
    pub fn file(&self, hash: &str) -> PathBuf {
        self.directory.join(format!("{hash}.txt"))
    }

    /// Is it there?
    pub fn has(&self, hash: &str) -> bool {
        self.file(hash).is_file()
    }

    /// Keeps a text, whole or not at all. The caller has compared the hash.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(&self, hash: &str, text: &str) -> io::Result<()> {
        let file = self.file(hash);
        if file.is_file() {
            return Ok(());
        }
        fs::create_dir_all(&self.directory)?;
        let unfinished = file.with_extension(format!("{}.new", std::process::id()));
        let mut new = File::create(&unfinished)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(unfinished, file)
    }

    /// The text with this hash; `None` if it is not there, or not a text.
    pub fn read(&self, hash: &str) -> Option<String> {
        let mut text = String::new();
        let file = File::open(self.file(hash)).ok()?;
        file.take(MOST).read_to_string(&mut text).ok()?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_read_again() {
        let state = tempfile::tempdir().unwrap();
        let texts = Texts::below(state.path());
        assert!(!texts.has("0xab") && texts.read("0xab").is_none());
        texts.keep("0xab", "we agree\n").unwrap();
        texts.keep("0xab", "we do not").unwrap();
        assert_eq!(texts.read("0xab").unwrap(), "we agree\n");
        let files = fs::read_dir(state.path().join("texts")).unwrap();
        assert_eq!(files.count(), 1, "nothing unfinished is left");
    }
}
