//! Where records begin and end: lines of text, and values of JSON.

use crate::problem::Reason;

/// The lines of a text with their numbers, from 1. A carriage return before the line's end is not part of it.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    rest: &'a [u8],
    number: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Self { rest, number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|octet| *octet == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        self.number += 1;
        Some((self.number, line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

/// How many lines end within `bytes`.
#[expect(
    clippy::naive_bytecount,
    reason = "a crate for it would save milliseconds"
)]
pub(crate) fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|octet| **octet == b'\n').count() as u64
}

/// One record of a text: its first line, and its bytes or why it cannot be told where it ends.
pub(crate) type Frame<'a> = (u64, Result<&'a [u8], Reason>);

/// The objects of a JSON file: one a line, or the elements of an array, or pretty-printed ones in a row.
#[derive(Clone, Debug)]
pub(crate) enum JsonFrames<'a> {
    Lines(Lines<'a>),
    Values(Values<'a>),
}

impl<'a> JsonFrames<'a> {
    pub(crate) fn new(bytes: &'a [u8], limit: usize) -> Self {
        let mut lines = Lines::new(bytes);
        let first = lines
            .clone()
            .map(|(_, line)| line.trim_ascii())
            .find(|line| !line.is_empty());
        // An array, or an object that goes on after its first line.
        if matches!(first, Some([b'[', ..] | [b'{'])) {
            return Self::Values(Values {
                bytes: lines.rest,
                at: 0,
                line: 1,
                limit,
            });
        }
        lines.number = 0;
        Self::Lines(lines)
    }
}

impl<'a> Iterator for JsonFrames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        match self {
            Self::Lines(lines) => lines
                .map(|(number, line)| (number, line.trim_ascii()))
                .find(|(_, line)| !line.is_empty())
                .map(|(number, line)| (number, Ok(line))),
            Self::Values(values) => values.next(),
        }
    }
}

/// Deepest nesting within a value; that of the JSON parser is 128.
const DEEPEST: usize = 120;

/// Values in a row, separated by white space, commas and the brackets of one array.
#[derive(Clone, Debug)]
pub(crate) struct Values<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
    limit: usize,
}

impl<'a> Values<'a> {
    fn next(&mut self) -> Option<Frame<'a>> {
        loop {
            match self.bytes.get(self.at)? {
                b'{' => break,
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                }
                b' ' | b'\t' | b'\r' | b',' | b'[' | b']' => self.at += 1,
                _ => {
                    // Something else, up to the next object or line.
                    let line = self.line;
                    let rest = &self.bytes[self.at..];
                    let length = rest.iter().position(|octet| matches!(octet, b'{' | b'\n'));
                    self.at += length.unwrap_or(rest.len());
                    return Some((line, Err(Reason::Stray)));
                }
            }
        }
        let (start, line) = (self.at, self.line);
        let Some(length) = length_of_object(&self.bytes[start..]) else {
            // Lost count of its braces: go on with the next line.
            let rest = &self.bytes[start..];
            let length = rest.iter().position(|octet| *octet == b'\n');
            self.at += length.unwrap_or(rest.len());
            return Some((line, Err(Reason::Truncated)));
        };
        let object = &self.bytes[start..start + length];
        self.at += length;
        self.line += line_ends(object);
        if length > self.limit {
            return Some((line, Err(Reason::TooLarge { limit: self.limit })));
        }
        Some((line, Ok(object)))
    }
}

/// Bytes of the object at the front; `None` if it does not end, is nested too deeply, its brackets do not match, or a
/// string has a line's end in it.
fn length_of_object(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    // One bit for each bracket that is open: 1 if it is a brace.
    let mut braces = 0_u128;
    let mut in_string = false;
    let mut at = 0;
    loop {
        match (*bytes.get(at)?, in_string) {
            (b'\\', true) => at += 1,
            (b'"', _) => in_string = !in_string,
            (b'\n', true) => return None,
            (bracket @ (b'{' | b'['), false) => {
                depth += 1;
                if depth > DEEPEST {
                    return None;
                }
                braces = braces << 1 | u128::from(bracket == b'{');
            }
            (bracket @ (b'}' | b']'), false) => {
                if (braces & 1 == 1) != (bracket == b'}') {
                    return None;
                }
                braces >>= 1;
                depth -= 1; // it was at least 1: the first byte is a brace
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &str) -> Vec<(u64, Result<String, Reason>)> {
        JsonFrames::new(text.as_bytes(), 40)
            .map(|(line, frame)| {
                (
                    line,
                    frame.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()),
                )
            })
            .collect()
    }

    fn ok(line: u64, text: &str) -> (u64, Result<String, Reason>) {
        (line, Ok(text.to_owned()))
    }

    #[test]
    fn objects_come_one_a_line() {
        assert_eq!(
            frames("{\"a\":1}\r\n\n  {\"b\":\n{\"c\":3}"),
            [ok(1, "{\"a\":1}"), ok(3, "{\"b\":"), ok(4, "{\"c\":3}")],
        );
    }

    #[test]
    fn objects_come_as_elements_of_an_array() {
        assert_eq!(
            frames("[{\"a\":[1,{}]},{\"b\":\"}\\\"]\"},\n{\"c\":\n3}]\n"),
            [
                ok(1, "{\"a\":[1,{}]}"),
                ok(1, "{\"b\":\"}\\\"]\"}"),
                ok(2, "{\"c\":\n3}")
            ],
        );
    }

    #[test]
    fn pretty_printed_objects_come_in_a_row() {
        assert_eq!(
            frames("\n{\n\"a\":1\n}\n{\n}\n"),
            [ok(2, "{\n\"a\":1\n}"), ok(5, "{\n}")]
        );
    }

    #[test]
    fn a_lost_brace_costs_one_element_of_an_array_with_lines() {
        assert_eq!(
            frames("[\n{\"a\":{1},\n{\"b\":2},\n!,{\"c\":3}\n]"),
            [
                (2, Err(Reason::Truncated)),
                ok(3, "{\"b\":2}"),
                (4, Err(Reason::Stray)),
                ok(4, "{\"c\":3}"),
            ],
        );
    }

    #[test]
    fn large_and_deep_objects_are_passed_over() {
        let large = format!("[{{\"a\":\"{}\"}},{{}}]", "x".repeat(40));
        assert_eq!(
            frames(&large),
            [(1, Err(Reason::TooLarge { limit: 40 })), ok(1, "{}")]
        );
        let deep = format!("[{}\n{{}}", "{".repeat(200));
        assert_eq!(frames(&deep), [(1, Err(Reason::Truncated)), ok(2, "{}")]);
    }
}
