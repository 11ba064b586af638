//! Pictures for people who would rather look: inline SVG that needs nothing else, and shades of text for a terminal. Pure.
//!
//! Lines and letters take the colour of the text around them, so that a dark page stays dark; nothing is told by colour
//! alone, and everything is told in words as well.

mod by_layer;
mod heatmap;
mod histogram;
mod page;

pub use by_layer::{LayerDifference, differences_by_layer};
pub use heatmap::Grid;
pub use histogram::histogram_svg;
pub use page::{TensorPicture, tensors_page};

/// Text as it may stand in SVG and HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no place for the other control characters.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_leave_its_place_in_a_picture() {
        assert_eq!(escaped("<a href='\"&'>\u{0}"), "&lt;a href=&#39;&quot;&amp;&#39;&gt;\u{fffd}");
    }
}
