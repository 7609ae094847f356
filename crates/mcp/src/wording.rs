//! Text that others wrote and that people or models will read: nothing in it may hide.

/// Characters that change how text is read and cannot be seen: directions, joiners, tags, variation selectors.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The text without what cannot be seen, cut to so many characters.
pub(crate) fn visible(text: &str, chars_max: usize) -> String {
    let kept = text.chars().filter(|c| (!c.is_control() || matches!(c, '\n' | '\t')) && !is_invisible(*c));
    let mut out: String = kept.take(chars_max).collect();
    if out.len() < text.len() && out.chars().count() == chars_max {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_taken_out_and_the_rest_stays() {
        assert_eq!(visible("a\u{202e}b\u{200b}c\u{e0041}d\u{7}\ne", 100), "abcd\ne");
        assert_eq!(visible("grüße 日本", 100), "grüße 日本");
        assert_eq!(visible("abcdef", 3), "abc…");
    }
}
