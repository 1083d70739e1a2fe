//! Files with one word a line: bounded, with blank lines and comments left out.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, anyhow};

use edge_console::exit::Failure;

/// Longest line; an address with a comment fits many times.
const LONGEST: u64 = 1024;

/// Gives every word of `file` (`-` is standard input) to `take`, which says what is wrong with one.
pub(super) fn each(
    file: &Path,
    take: &mut dyn FnMut(&str) -> Result<(), &'static str>,
) -> Result<(), Failure> {
    if file.as_os_str() == "-" {
        return each_of("standard input", std::io::stdin().lock(), take);
    }
    let shown = file.display().to_string();
    let opened = File::open(file).with_context(|| format!("opening {shown}"));
    each_of(
        &shown,
        BufReader::new(opened.map_err(Failure::usage)?),
        take,
    )
}

fn each_of(
    shown: &str,
    mut reader: impl BufRead,
    take: &mut dyn FnMut(&str) -> Result<(), &'static str>,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let bounded = &mut reader.by_ref().take(LONGEST);
        let read = bounded.read_until(b'\n', &mut line);
        if read.with_context(|| format!("reading {shown}"))? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let word = text.split('#').next().unwrap_or_default().trim();
        let wrong = if line.len() as u64 == LONGEST {
            Some("too long for a line")
        } else if word.is_empty() {
            None
        } else {
            take(word).err()
        };
        if let Some(wrong) = wrong {
            let cut: String = word.chars().take(80).collect();
            return Err(Failure::usage(anyhow!(
                "{shown}, line {number}: {cut:?} is {wrong}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[u8]) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        let read = each_of("list", text, &mut |word| {
            words.push(word.to_owned());
            if word == "bad" { Err("bad") } else { Ok(()) }
        });
        let told = |error| format!("{error:?}").lines().take(1).collect(); // without backtrace
        read.map(|()| words).map_err(told)
    }

    #[test]
    fn comments_and_blank_lines_are_left_out() {
        let text = b"# all\n\n a # one\r\n\t\nb";
        assert_eq!(words(text).unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let error = words(b"a\n#\nbad # really\n").unwrap_err();
        assert!(error.contains("list, line 3: \"bad\" is bad"), "{error}");
        let error = words(&[b'x'; 5000]).unwrap_err();
        assert!(
            error.contains("line 1") && error.contains("too long"),
            "{error}"
        );
        assert!(error.len() < 500, "{error}");
    }
}
