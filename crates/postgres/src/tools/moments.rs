//! When an action was asked for, read off its own id: probes need it long after the call has ended.

use jiff::{SignedDuration, Timestamp};
use reeve_types::ActionId;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// How far the clocks of Reeve and of a server may differ, in seconds.
const CLOCKS_DIFFER_SECS: i64 = 60;

/// The moment inside a TypeID: the first 48 bits of its UUIDv7 are milliseconds since 1970.
pub(super) fn asked_at(id: &ActionId) -> Option<Timestamp> {
    let suffix = id.as_str().rsplit_once('_')?.1;
    let value = suffix.bytes().try_fold(0_u128, |value, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        value.checked_mul(32)?.checked_add(digit as u128)
    })?;
    Timestamp::from_millisecond(i64::try_from(value >> 80).ok()?).ok()
}

/// Whether something of a server's clock was before or after the asking; `None` when the clocks leave it open.
pub(super) fn was_before(at: Timestamp, asked: Timestamp) -> Option<bool> {
    let gap = at.duration_since(asked);
    (gap.abs() > SignedDuration::from_secs(CLOCKS_DIFFER_SECS)).then(|| gap.is_negative())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_was_made() {
        let at: Timestamp = "2026-01-31T12:00:00.123Z".parse().unwrap();
        assert_eq!(asked_at(&ActionId::new(at, u128::MAX)), Some(at));
    }

    #[test]
    fn close_moments_are_left_open() {
        let asked: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let table = [
            ("2026-01-31T11:00:00Z", Some(true)),
            ("2026-01-31T13:00:00Z", Some(false)),
            ("2026-01-31T12:00:30Z", None),
        ];
        for (at, expected) in table {
            assert_eq!(was_before(at.parse().unwrap(), asked), expected);
        }
    }
}
