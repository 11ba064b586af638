//! Stop strings over a stream of text.

/// Holds back text that may turn out to be the beginning of a stop string.
#[derive(Clone, Debug)]
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What became of a piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Released {
    /// Text that is sure to belong to the reply.
    pub(crate) text: String,
    /// Whether a stop string followed it.
    pub(crate) stopped: bool,
}

impl StopMatcher {
    /// Watches for `stops`; empty ones are ignored.
    pub(crate) fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Adds text from the model and releases what cannot be part of a stop string any more.
    pub(crate) fn push(&mut self, text: &str) -> Released {
        self.held.push_str(text);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(start) = first {
            self.held.truncate(start);
            return Released { text: std::mem::take(&mut self.held), stopped: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - keep);
        Released { text: std::mem::replace(&mut self.held, held), stopped: false }
    }

    /// What was held back and, as the text ended, belongs to the reply.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that `stop` begins with, shorter than `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(length, _)| length)
        .rev()
        .find(|&length| text.ends_with(&stop[..length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stop_string_in_pieces_is_never_released() {
        let mut matcher = StopMatcher::new(&["END".to_owned()]);
        assert_eq!(matcher.push("a E"), Released { text: "a ".into(), stopped: false });
        assert_eq!(matcher.push("N"), Released { text: String::new(), stopped: false });
        assert_eq!(matcher.push("Dx"), Released { text: String::new(), stopped: true });
    }

    #[test]
    fn a_false_start_is_released() {
        let mut matcher = StopMatcher::new(&["END".to_owned(), String::new()]);
        assert_eq!(matcher.push("EN").text, "");
        assert_eq!(matcher.push("EN").text, "EN");
        assert_eq!(matcher.finish(), "EN");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\u{e9}]{0,40}", stop in "[ab\u{e9}]{1,4}", cuts in prop::collection::vec(0_usize..40, 0..6)) {
            let expected = text.find(&stop).map_or(text.as_str(), |start| &text[..start]);
            let mut matcher = StopMatcher::new(std::slice::from_ref(&stop));
            let chars: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(chars.len())).chain([chars.len()]).collect();
            cuts.sort_unstable();
            let (mut start, mut released, mut stopped) = (0, String::new(), false);
            for cut in cuts {
                let piece: String = chars[start..cut].iter().collect();
                start = cut;
                let part = matcher.push(&piece);
                released.push_str(&part.text);
                if part.stopped { stopped = true; break; }
            }
            if !stopped { released.push_str(&matcher.finish()); }
            prop_assert_eq!(released, expected);
            prop_assert_eq!(stopped, text.contains(&stop));
        }
    }
}
