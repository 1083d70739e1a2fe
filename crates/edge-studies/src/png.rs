//! Pictures as pixels, for where SVG is not shown. Fonts come with the program, so that every machine draws the same.

use anyhow::{Context, anyhow};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

/// Pixels per unit of the drawing.
const SCALE: f32 = 2.0;

/// Draws an SVG as PNG.
pub(crate) fn render(svg: &str) -> anyhow::Result<Vec<u8>> {
    let mut options = Options {
        font_family: "DejaVu Sans".to_owned(),
        ..Options::default()
    };
    let fonts = options.fontdb_mut();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.load_font_data(dejavu::sans::bold().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let tree = Tree::from_str(svg, &options).context("reading the drawing")?;
    let size = tree.size().to_int_size();
    let size = size.scale_by(SCALE).context("scaling the drawing")?;
    let mut pixels = Pixmap::new(size.width(), size.height())
        .ok_or_else(|| anyhow!("no room for {} x {} pixels", size.width(), size.height()))?;
    resvg::render(
        &tree,
        Transform::from_scale(SCALE, SCALE),
        &mut pixels.as_mut(),
    );
    pixels.encode_png().context("packing the pixels")
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_console::svg::{Svg, point};

    #[test]
    fn text_becomes_pixels() {
        let draw = |text: &str| {
            let mut svg = Svg::new(120.0, 40.0, "t", "text{font-size:20px;fill:#000}");
            svg.text("", point(4.0, 28.0), text);
            render(&svg.finish()).unwrap()
        };
        let (blank, word) = (draw(""), draw("edge"));
        assert_eq!(&word[1..4], b"PNG");
        assert_ne!(blank, word);
        assert_eq!(word, draw("edge"));
    }
}
