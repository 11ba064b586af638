//! Many tensors on one page that needs nothing else.

use askama::Template;

/// One tensor of the page.
pub struct TensorPicture {
    /// Its name.
    pub name: String,
    /// Type, shape and moments, in words.
    pub facts: String,
    /// Its histogram as SVG, where it has a finite value.
    pub histogram: Option<String>,
    /// Its heatmap as SVG, where it is a matrix.
    pub heatmap: Option<String>,
}

#[derive(Template)]
#[template(path = "tensors.html")]
struct Page<'p> {
    source: &'p str,
    tensors: &'p [TensorPicture],
}

/// The page of the tensors of `source`.
pub fn tensors_page(source: &str, tensors: &[TensorPicture]) -> Result<String, askama::Error> {
    Page { source, tensors }.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_self_contained_and_names_are_text() {
        let picture = TensorPicture {
            name: "<b>".to_owned(),
            facts: "F32 2x2".to_owned(),
            histogram: Some("<svg id=\"one\"></svg>".to_owned()),
            heatmap: None,
        };
        let page = tensors_page("model & co", &[picture]).unwrap();
        assert!(page.contains("<svg id=\"one\"></svg>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("model &#38; co") || page.contains("model &amp; co"), "{page}");
        assert!(
            !page.contains("http") && page.contains("prefers-color-scheme") && page.contains("lang=\"en\"")
        );
    }
}
