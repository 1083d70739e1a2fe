//! A small writer of standalone SVG 1.1: every text is escaped, every number is finite.

use std::fmt::Write as _;

/// Fonts that viewers are likely to have; none is loaded.
const FONTS: &str = "font-family:'Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif";

/// A picture being written.
#[derive(Debug)]
pub struct Svg {
    text: String,
}

impl Svg {
    /// Begins a picture of `width` by `height` on white. `style` is CSS for the classes that it uses.
    pub fn new(width: f64, height: f64, title: &str, style: &'static str) -> Self {
        let mut svg = Self {
            text: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"),
        };
        let (w, h) = (Number(width), Number(height));
        svg.write(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"{w}\" height=\"{h}\" \
             viewBox=\"0 0 {w} {h}\" role=\"img\">\n<title>{}</title>\n\
             <style>text{{{FONTS}}}{style}</style>\n",
            Escaped(title)
        ));
        svg.element("rect")
            .number("width", width)
            .number("height", height)
            .attribute("fill", "#fff")
            .close();
        svg
    }

    /// Begins an element; end it with [`Element::close`] or [`Element::content`].
    pub fn element(&mut self, name: &'static str) -> Element<'_> {
        self.write(format_args!("<{name}"));
        Element { svg: self, name }
    }

    /// A circle.
    pub fn circle(&mut self, class: &str, at: Point, radius: f64) -> Element<'_> {
        let circle = self.element("circle").attribute("class", class);
        circle
            .number("cx", at.x)
            .number("cy", at.y)
            .number("r", radius)
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: Point, to: Point) {
        let line = self.element("line").attribute("class", class);
        let line = line.number("x1", from.x).number("y1", from.y);
        line.number("x2", to.x).number("y2", to.y).close();
    }

    /// A rectangle.
    pub fn rectangle(&mut self, class: &str, at: Point, width: f64, height: f64) {
        let rectangle = self.element("rect").attribute("class", class);
        let rectangle = rectangle.number("x", at.x).number("y", at.y);
        rectangle
            .number("width", width)
            .number("height", height)
            .close();
    }

    /// A path.
    pub fn path(&mut self, class: &str, path: &Path) -> Element<'_> {
        let element = self.element("path").attribute("class", class);
        element.attribute("d", path.data.trim_end())
    }

    /// A line of text with its baseline at `at`; the class says how it is anchored.
    pub fn text(&mut self, class: &str, at: Point, content: &str) {
        let text = self.element("text").attribute("class", class);
        text.number("x", at.x).number("y", at.y).content(content);
    }

    /// The picture.
    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(arguments);
    }
}

/// An element whose attributes are being written.
#[derive(Debug)]
#[must_use = "an element must be closed"]
pub struct Element<'a> {
    svg: &'a mut Svg,
    name: &'static str,
}

impl Element<'_> {
    /// Adds an attribute.
    pub fn attribute(self, name: &'static str, value: &str) -> Self {
        self.svg
            .write(format_args!(" {name}=\"{}\"", Escaped(value)));
        self
    }

    /// Adds a number.
    pub fn number(self, name: &'static str, value: f64) -> Self {
        self.svg
            .write(format_args!(" {name}=\"{}\"", Number(value)));
        self
    }

    /// Ends the element.
    pub fn close(self) {
        self.svg.text.push_str("/>\n");
    }

    /// Ends the element after a text.
    pub fn content(self, content: &str) {
        let name = self.name;
        self.svg
            .write(format_args!(">{}</{name}>\n", Escaped(content)));
    }

    /// Ends the element after the text that a viewer shows under the pointer.
    pub fn tooltip(self, content: &str) {
        let name = self.name;
        self.svg.write(format_args!(
            "><title>{}</title></{name}>\n",
            Escaped(content)
        ));
    }
}

/// A place in the picture; x to the right, y down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Down.
    pub y: f64,
}

/// A place in the picture.
pub const fn point(x: f64, y: f64) -> Point {
    Point { x, y }
}

/// Data of a path, in absolute coordinates.
#[derive(Debug, Default)]
pub struct Path {
    data: String,
}

impl Path {
    /// Begins at `to`.
    pub fn from(to: Point) -> Self {
        let mut path = Self::default();
        path.move_to(to);
        path
    }

    /// Lifts the pen.
    pub fn move_to(&mut self, to: Point) {
        self.step('M', &[to]);
    }

    /// A straight line.
    pub fn line_to(&mut self, to: Point) {
        self.step('L', &[to]);
    }

    /// A cubic curve.
    pub fn curve_to(&mut self, leaving: Point, arriving: Point, to: Point) {
        self.step('C', &[leaving, arriving, to]);
    }

    /// Back to where the pen came down.
    pub fn closed(mut self) -> Self {
        self.data.push('Z');
        self
    }

    fn step(&mut self, command: char, points: &[Point]) {
        self.data.push(command);
        for Point { x, y } in points {
            let _ = write!(self.data, "{} {} ", Number(*x), Number(*y));
        }
    }
}

/// A coordinate: at most two decimals, no exponent; what is not finite becomes 0.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = if self.0.is_finite() { self.0 } else { 0.0 };
        let text = format!("{value:.2}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if text == "-0" { "0" } else { text })
    }
}

/// Text for use between tags and in attributes. Characters that XML 1.0 forbids, and those that turn the direction of
/// writing, become U+FFFD.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                f.write_char('\u{fffd}')
            }
            '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}'),
            _ if char.is_control() => f.write_char('\u{fffd}'),
            _ => f.write_char(char),
        })
    }
}

/// At most `most` characters of a text, its middle left out if it is longer.
pub fn shortened(text: &str, most: usize) -> String {
    let length = text.chars().take(most + 1).count();
    if length <= most {
        return text.to_owned();
    }
    let head = most / 2;
    let tail: Vec<char> = text
        .chars()
        .rev()
        .take(most.saturating_sub(head + 1))
        .collect();
    let head = text.chars().take(head);
    head.chain(['…']).chain(tail.into_iter().rev()).collect()
}

/// The smallest round number, 1, 2, 2.5 or 5 times a power of ten, of which at most `most` fit into `span`; 1 if there
/// is none.
pub fn round_step(span: f64, most: usize) -> f64 {
    let least = span / most.max(1) as f64;
    if !(least.is_finite() && least > 1e-9) {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .find(|factor| factor * power >= least * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// A number without needless decimals.
pub fn plain(value: f64) -> String {
    Number(value).to_string()
}

/// Checks a picture.
///
/// # Panics
/// Unless `drawing` is well-formed, has no active content and keeps every number within the picture.
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "for tests only")]
pub fn check(drawing: &str) {
    let document = roxmltree::Document::parse(drawing).unwrap();
    let root = document.root_element();
    let view: Vec<f64> = numbers(root.attribute("viewBox").unwrap());
    let (width, height) = (view[2], view[3]);
    let known = [
        "svg", "title", "style", "rect", "circle", "line", "path", "text",
    ];
    for element in root.descendants().filter(roxmltree::Node::is_element) {
        assert!(known.contains(&element.tag_name().name()), "{element:?}");
        for attribute in element.attributes() {
            let value = attribute.value();
            match attribute.name() {
                "x" | "cx" | "x1" | "x2" | "width" => {
                    assert!((0.0..=width).contains(&numbers(value)[0]), "{element:?}");
                }
                "y" | "cy" | "y1" | "y2" | "height" => {
                    assert!((0.0..=height).contains(&numbers(value)[0]), "{element:?}");
                }
                "d" => {
                    let all = numbers(&value.replace(['M', 'L', 'C', 'Z'], " "));
                    assert!(all.len() >= 2 && all.len().is_multiple_of(2), "{element:?}");
                    let inside = |at: &[f64]| {
                        (0.0..=width).contains(&at[0]) && (0.0..=height).contains(&at[1])
                    };
                    assert!(all.chunks(2).all(inside), "{element:?}");
                }
                "r" | "stroke-width" => assert!(numbers(value)[0] >= 0.0, "{element:?}"),
                "class" | "fill" | "style" | "version" | "viewBox" | "role" | "stroke-linejoin"
                | "aria-hidden" => (),
                other => panic!("attribute {other} of {element:?}"),
            }
        }
    }
}

/// Numbers parted by blanks; `inf` and `NaN` do not pass for numbers.
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "for tests only")]
fn numbers(text: &str) -> Vec<f64> {
    let parse = |word: &str| {
        word.parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
            .unwrap()
    };
    text.split_whitespace().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let hostile = "</text><script>\"'&\u{0}\u{202e}\u{ffff}\n";
        let expected =
            "&lt;/text&gt;&lt;script&gt;&quot;&#39;&amp;\u{fffd}\u{fffd}\u{fffd}\u{fffd}";
        assert_eq!(Escaped(hostile).to_string(), expected);
    }

    #[test]
    fn numbers_are_short_and_finite() {
        let numbers = [0.0, -0.001, 1.5, 100.0, -2.345, f64::NAN, f64::INFINITY];
        let expected = ["0", "0", "1.5", "100", "-2.35", "0", "0"];
        assert_eq!(numbers.map(plain), expected);
    }

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(shortened("abcdefghij", 10), "abcdefghij");
        assert_eq!(shortened("abcdefghij", 5), "ab…ij");
        assert_eq!(shortened("äöü", 1), "…");
        assert_eq!(shortened("", 0), "");
    }

    #[test]
    fn steps_are_round() {
        let steps = [10.0, 97.0, 380.0, 1e6, 0.3, 0.0, f64::NAN].map(|span| round_step(span, 5));
        assert_eq!(
            steps.map(plain),
            ["2", "20", "100", "200000", "0.1", "1", "1"]
        );
    }
}
