//! The few rules of text that notes, proofs and witness requests share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reeve_types::Digest;

/// Base64 of RFC 4648 section 4, with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a base64 text; none when it is not exactly what [`encode`] would write.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The digest that a base64 text spells.
pub(crate) fn decode_digest(text: &str) -> Option<Digest> {
    decode(text)?.try_into().ok().map(Digest)
}

/// A decimal number as C2SP writes it: digits only, no leading zero unless it is `0`.
pub(crate) fn decode_decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// The start of what somebody sent, short enough for an error message and on one line.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(decode_decimal("0"), Some(0));
        assert_eq!(decode_decimal("18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "00", "01", "+1", "-1", " 1", "1 ", "1.0", "18446744073709551616", "٣"] {
            assert_eq!(decode_decimal(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(decode("AAE="), Some(vec![0, 1]));
        for wrong in ["AAE", "AAF=", "AAE=\n", "AA-=", "A"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
