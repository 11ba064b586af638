//! How far each layer is from its goldens, as shares of what it may be.

use std::fmt::Write as _;

use super::escaped;

/// The worst of a layer's golden tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerDifference {
    /// What people call the layer: `embedding`, `3`, `norm`, `logits`.
    pub label: String,
    /// The smallest absolute tolerance that would pass, over the one that must; above 1 fails, and so does what is not a
    /// number.
    pub worst: f64,
}

impl LayerDifference {
    fn passes(&self) -> bool {
        self.worst <= 1.0
    }

    fn said(&self) -> String {
        match (self.worst.is_finite(), self.worst) {
            (false, _) => "not finite".to_owned(),
            (true, 0.0) => "0".to_owned(),
            (true, worst) => format!("{worst:.2e}"),
        }
    }
}

/// Powers of ten that the vertical axis spans: what is smaller stands at its foot, what is larger at its top.
const DECADES: std::ops::RangeInclusive<i32> = -4..=2;
/// Where the plot begins, and how high it is.
const LEFT: f64 = 46.0;
const TOP: f64 = 12.0;
const HEIGHT: f64 = 180.0;

/// A figure: one mark a layer on a logarithmic scale, a line where the tolerance is, and the same as a table. A circle
/// passes and a cross fails. `id` tells the parts of this figure from those of others on a page.
pub fn differences_by_layer(id: &str, layers: &[LayerDifference]) -> String {
    let id = escaped(id);
    let n_failed = layers.iter().filter(|layer| !layer.passes()).count();
    let worst = layers.iter().max_by(|a, b| severity(a).total_cmp(&severity(b)));
    let Some(worst) = worst else {
        return "<p>No golden tensor was compared, so there is no layer to show.</p>".to_owned();
    };
    let verdict = match n_failed {
        0 => "all are within tolerance".to_owned(),
        n => format!("{n} of {} are out of tolerance", layers.len()),
    };
    let description = format!("{verdict}; the worst is {} with {}", escaped(&worst.label), worst.said());
    let step = (640.0 / layers.len() as f64).clamp(7.0, 60.0);
    let width = LEFT + step * layers.len() as f64 + 12.0;
    let height = TOP + HEIGHT + 70.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" \
         style=\"max-width:100%;height:auto\" fill=\"none\" stroke=\"currentColor\" font-family=\"inherit\" font-size=\"11\">\
         <title id=\"{id}-title\">Largest difference from the goldens in each layer, over the tolerance</title>\
         <desc id=\"{id}-desc\">{description}</desc>"
    );
    for decade in DECADES {
        let y = y_of(10_f64.powi(decade));
        let (dashes, opacity) = if decade == 0 { ("6 3", 1.0) } else { ("1 3", 0.5) };
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke-dasharray=\"{dashes}\" opacity=\"{opacity}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"currentColor\" stroke=\"none\">{}</text>",
            width - 12.0,
            LEFT - 6.0,
            y + 4.0,
            if decade == 0 { "limit".to_owned() } else { format!("1e{decade}") }
        );
    }
    // Labels that would touch are left out: every k-th stays.
    let every = (16.0 / step).ceil() as usize;
    for (at, layer) in layers.iter().enumerate() {
        let (x, y) = (LEFT + step * (at as f64 + 0.5), y_of(layer.worst));
        let told = format!("<title>{}: {}</title>", escaped(&layer.label), layer.said());
        let _ = if layer.passes() {
            write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"currentColor\">{told}</circle>")
        } else {
            write!(
                svg,
                "<path d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\" stroke-width=\"2.5\">{told}</path>",
                x - 4.0,
                y - 4.0
            )
        };
        if at % every == 0 || !layer.passes() {
            let foot = TOP + HEIGHT + 10.0;
            let _ = write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{foot:.0}\" transform=\"rotate(-60 {x:.1} {foot:.0})\" text-anchor=\"end\" \
                 fill=\"currentColor\" stroke=\"none\">{}</text>",
                escaped(&layer.label)
            );
        }
    }
    svg.push_str("</svg>");
    format!(
        "<figure>{svg}<figcaption>Largest difference from the goldens in each layer, over the tolerance: a circle is within it, a \
         cross is not; {description}.</figcaption>{}</figure>",
        table(layers)
    )
}

fn table(layers: &[LayerDifference]) -> String {
    let mut rows = String::new();
    for layer in layers {
        let word = if layer.passes() { "pass" } else { "FAIL" };
        let _ = write!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{word}</td></tr>",
            escaped(&layer.label),
            layer.said()
        );
    }
    format!(
        "<details><summary>The same as a table</summary><table><thead><tr><th scope=\"col\">layer</th><th scope=\"col\">difference \
         over tolerance</th><th scope=\"col\">verdict</th></tr></thead><tbody>{rows}</tbody></table></details>"
    )
}

/// Larger is worse; what is not a number is worst.
fn severity(layer: &LayerDifference) -> f64 {
    if layer.worst.is_nan() { f64::INFINITY } else { layer.worst }
}

fn y_of(worst: f64) -> f64 {
    let (low, high) = (f64::from(*DECADES.start()), f64::from(*DECADES.end()));
    let worst = if worst.is_nan() { f64::INFINITY } else { worst };
    let decade = worst.max(0.0).log10().clamp(low, high);
    TOP + HEIGHT * (high - decade) / (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(worst: &[f64]) -> Vec<LayerDifference> {
        let layer = |(at, &worst): (usize, &f64)| LayerDifference { label: at.to_string(), worst };
        worst.iter().enumerate().map(layer).collect()
    }

    #[test]
    fn what_passes_is_a_circle_and_what_fails_a_cross_higher_up() {
        let figure = differences_by_layer("tiny", &layers(&[0.0, 0.03, 1.0, 7.0]));
        assert_eq!((figure.matches("<circle").count(), figure.matches("l8 8m0 -8l-8 8").count()), (3, 1));
        assert!(figure.contains("1 of 4 are out of tolerance; the worst is 3 with 7.00e0"), "{figure}");
        assert!(y_of(7.0) < y_of(1.0) && y_of(1.0) < y_of(0.03) && y_of(0.03) < y_of(0.0));
    }

    #[test]
    fn what_is_not_a_number_fails_at_the_top() {
        let figure = differences_by_layer("x", &layers(&[0.5, f64::NAN]));
        assert!(figure.contains("the worst is 1 with not finite") && figure.contains("FAIL"), "{figure}");
        assert!((y_of(f64::NAN) - TOP).abs() < 1e-9 && (y_of(f64::INFINITY) - TOP).abs() < 1e-9);
        assert!(!figure.contains("NaN") && !figure.contains("inf\""), "{figure}");
    }

    #[test]
    fn it_is_told_in_words_and_as_a_table_too() {
        let figure = differences_by_layer("tiny", &layers(&[0.1, 0.2]));
        for part in [
            "role=\"img\" aria-labelledby=\"tiny-title tiny-desc\"",
            "<title id=\"tiny-title\">",
            "<desc id=\"tiny-desc\">all are within tolerance",
            "<th scope=\"row\">1</th><td>2.00e-1</td><td>pass</td>",
        ] {
            assert!(figure.contains(part), "{part} is not in {figure}");
        }
        assert!(!figure.contains("http") && !figure.contains("<script"), "it is self-contained");
    }

    #[test]
    fn labels_are_text_and_nothing_at_all_is_said_to_be_nothing() {
        let evil = LayerDifference { label: "</svg><script>".to_owned(), worst: 2.0 };
        assert!(!differences_by_layer("\"x", &[evil]).contains("<script>"));
        assert!(differences_by_layer("x", &[]).contains("No golden tensor was compared"));
    }

    #[test]
    fn labels_that_would_touch_are_left_out_but_for_those_that_fail() {
        let mut worst = vec![0.1; 200];
        worst[7] = 3.0;
        let figure = differences_by_layer("x", &layers(&worst));
        let is_labelled = |label: usize| figure.contains(&format!("stroke=\"none\">{label}</text>"));
        assert!(is_labelled(0) && is_labelled(7), "{figure}");
        assert!(!is_labelled(1) && !is_labelled(2) && !is_labelled(8));
        let n_labels = (10..200).filter(|&label| is_labelled(label)).count();
        assert!((10..100).contains(&n_labels), "{n_labels} of 190");
        assert_eq!(figure.matches("<circle").count(), 199, "every point stays");
    }
}
