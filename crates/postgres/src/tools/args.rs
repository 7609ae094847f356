//! Reads a call's arguments. The gate has checked them against the schema, so what is absent was left out.

use jiff::Timestamp;
use reeve_types::Arguments;

use super::trouble::Trouble;

/// A text argument.
pub(super) fn text<'a>(arguments: &'a Arguments, name: &str) -> Option<&'a str> {
    arguments.get(name)?.as_str()
}

/// A text argument that the tool cannot do without.
pub(super) fn needed<'a>(arguments: &'a Arguments, name: &str) -> Result<&'a str, Trouble> {
    text(arguments, name).ok_or_else(|| Trouble::invalid(format!("the argument `{name}` is missing")))
}

/// A whole number; 7 and 7.0 are the same to JSON.
pub(super) fn integer(arguments: &Arguments, name: &str) -> Option<i64> {
    let value = arguments.get(name)?;
    #[expect(clippy::cast_possible_truncation, reason = "only whole numbers within the schema's bounds get here")]
    value.as_i64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64))
}

/// A whole number that the tool cannot do without.
pub(super) fn needed_integer(arguments: &Arguments, name: &str) -> Result<i64, Trouble> {
    integer(arguments, name).ok_or_else(|| Trouble::invalid(format!("the argument `{name}` is missing")))
}

/// A number.
pub(super) fn number(arguments: &Arguments, name: &str) -> Option<f64> {
    arguments.get(name)?.as_f64()
}

/// A switch.
pub(super) fn flag(arguments: &Arguments, name: &str, default: bool) -> bool {
    arguments.get(name).and_then(serde_json::Value::as_bool).unwrap_or(default)
}

/// A moment.
pub(super) fn moment(arguments: &Arguments, name: &str) -> Result<Option<Timestamp>, Trouble> {
    text(arguments, name)
        .map(|given| {
            given.parse().map_err(|_| {
                Trouble::invalid(format!("`{name}` is not a time with zone such as 2026-01-31T12:00:00.123456Z"))
            })
        })
        .transpose()
}
