//! Texts of agents, made fit to be shown: shortened, on one line.

/// The beginning of a text.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A text on one line.
pub(super) fn plain(text: &str) -> String {
    text.chars().take(10_000).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("größe", 3).as_str(), cut("größe", 5).as_str()), ("grö…", "größe"));
        assert_eq!(plain("a\nb\u{1b}[1m"), "a b [1m");
    }
}
