//! Figures by stage on a logarithmic scale against one limit, as SVG text. Pure.

use std::fmt::Write as _;

/// A picture of how figures stand to their limit, stage after stage.
pub struct Plot<'p> {
    /// What it shows, for whoever cannot see it.
    pub title: &'p str,
    /// The stages, from left to right.
    pub stages: &'p [String],
    /// Every figure.
    pub marks: &'p [Mark],
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Its stage, counted from 0.
    pub stage: usize,
    /// How much of its limit it takes; `None` when it is beyond it by an amount that is not known.
    pub share: Option<f64>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 52.0;
/// Shares below this are drawn on the lowest line, which zero is on too.
const LOWEST: i32 = -6;
/// Shares above this are drawn on the highest.
const HIGHEST: i32 = 4;

/// Draws it. A figure within its limit is a circle, one beyond it a cross; a line joins the largest of each stage.
pub fn svg(plot: &Plot<'_>) -> String {
    let n_stages = plot.stages.len().max(1) as f64;
    let exponents = plot.marks.iter().filter_map(|mark| exponent(mark.share));
    let (mut low, mut high) = (-1.0_f64, 0.0_f64);
    for value in exponents {
        (low, high) = (low.min(value.floor()), high.max(value.ceil()));
    }
    if plot.marks.iter().any(is_beyond) {
        high = high.max(1.0);
    }
    let x = |stage: usize| LEFT + (stage as f64 + 0.5) * (WIDTH - LEFT - RIGHT) / n_stages;
    let y = |exponent: f64| TOP + (high - exponent) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let height = |mark: &Mark| match mark.share {
        None => y(high),
        share => y(exponent(share).unwrap_or(low)),
    };

    let mut text = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escaped(plot.title)
    );
    // Writing to a string cannot fail.
    for decade in (low as i32)..=(high as i32) {
        let at = y(f64::from(decade));
        let (class, label) = match decade {
            0 => ("limit", "limit".to_owned()),
            _ if decade == low as i32 => ("grid", format!("≤ {}", decade_label(decade))),
            _ => ("grid", decade_label(decade)),
        };
        let _ = write!(
            text,
            "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    let every = (plot.stages.len() / 16) + 1;
    for (stage, name) in plot.stages.iter().enumerate().filter(|(stage, _)| stage % every == 0) {
        let (at, below) = (x(stage), HEIGHT - BOTTOM + 20.0);
        let _ = write!(
            text,
            "<text x=\"{at:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{}</text>",
            escaped(name)
        );
    }
    let tops: Vec<String> = (0..plot.stages.len())
        .filter_map(|stage| {
            let of_stage = plot.marks.iter().filter(|mark| mark.stage == stage);
            let top = of_stage.map(height).min_by(f64::total_cmp)?;
            Some(format!("{:.1},{top:.1}", x(stage)))
        })
        .collect();
    let _ = write!(text, "<polyline class=\"tops\" points=\"{}\"/>", tops.join(" "));
    let mut drawn = std::collections::BTreeSet::new();
    for mark in plot.marks {
        let (at, up) = (format!("{:.1}", x(mark.stage)), format!("{:.1}", height(mark)));
        let is_beyond = is_beyond(mark);
        // Marks on one spot look like one.
        if !drawn.insert((at.clone(), up.clone(), is_beyond)) {
            continue;
        }
        let _ = if is_beyond {
            write!(text, "<path class=\"beyond\" d=\"M{at} {up}m-5-5l10 10m0-10l-10 10\"/>")
        } else {
            write!(text, "<circle class=\"within\" cx=\"{at}\" cy=\"{up}\" r=\"3.5\"/>")
        };
    }
    text.push_str("</svg>");
    text
}

fn is_beyond(mark: &Mark) -> bool {
    // What is not a number is not within anything.
    mark.share.is_none_or(|share| share.is_nan() || share > 1.0)
}

/// The power of ten of a share; `None` where it has none.
fn exponent(share: Option<f64>) -> Option<f64> {
    let share = share.filter(|share| *share > 0.0)?;
    Some(share.log10().clamp(f64::from(LOWEST), f64::from(HIGHEST)))
}

fn decade_label(decade: i32) -> String {
    match decade {
        1.. => format!("{} times", 10_u64.pow(decade.unsigned_abs())),
        _ => format!("{} %", 10_f64.powi(decade + 2)),
    }
}

/// Text inside SVG and its attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(marks: &[Mark]) -> String {
        let stages = ["embedding".to_owned(), "0".to_owned(), "a<b".to_owned()];
        svg(&Plot { title: "shares of \"it\"", stages: &stages, marks })
    }

    fn mark(stage: usize, share: impl Into<Option<f64>>) -> Mark {
        Mark { stage, share: share.into() }
    }

    /// The heights of what is drawn as `shape`.
    fn heights(svg: &str, shape: &str, before: &str) -> Vec<f64> {
        let parts = svg.split(shape).skip(1);
        let number = |part: &str| {
            let at = part.find(before).unwrap() + before.len();
            let rest = &part[at..];
            rest[..rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap()].parse().unwrap()
        };
        parts.map(number).collect()
    }

    #[test]
    fn what_is_within_its_limit_is_a_circle_below_the_line_and_what_is_not_a_cross_above() {
        let svg = drawn(&[mark(0, 0.5), mark(1, 20.0), mark(2, None), mark(2, f64::NAN)]);
        let limit = heights(&svg, "<line class=\"limit\"", "y1=\"")[0];
        let circles = heights(&svg, "<circle", "cy=\"");
        assert_eq!(circles.len(), 1);
        assert!(circles[0] > limit, "{svg}");
        let crosses = svg.matches("class=\"beyond\"").count();
        assert_eq!(crosses, 3, "{svg}");
    }

    #[test]
    fn smaller_shares_are_lower_and_zero_is_on_the_lowest_line() {
        let svg = drawn(&[mark(0, 0.5), mark(1, 0.01), mark(2, 0.0)]);
        let circles = heights(&svg, "<circle", "cy=\"");
        assert!(circles[0] < circles[1] && circles[1] <= circles[2], "{circles:?}");
        assert!((circles[2] - (HEIGHT - BOTTOM)).abs() < 0.1, "{circles:?}");
    }

    #[test]
    fn whatever_is_drawn_stays_inside_the_picture() {
        for share in [f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, -1.0, 1.0] {
            let svg = drawn(&[mark(1, share)]);
            for height in heights(&svg, "<circle", "cy=\"") {
                assert!((TOP..=HEIGHT - BOTTOM).contains(&height), "{share}: {height}");
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{share}: {svg}");
        }
        assert!(drawn(&[]).contains("class=\"limit\""));
    }

    #[test]
    fn names_and_title_are_text_and_nothing_else() {
        let svg = drawn(&[]);
        assert!(svg.contains("aria-label=\"shares of &quot;it&quot;\"") && svg.contains("a&lt;b"), "{svg}");
    }
    #[test]
    fn marks_on_one_spot_are_drawn_once() {
        let svg = drawn(&[mark(0, 0.5), mark(0, 0.5), mark(1, 0.5), mark(2, None), mark(2, None)]);
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert_eq!(svg.matches("class=\"beyond\"").count(), 1, "{svg}");
    }
}
