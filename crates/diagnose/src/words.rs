//! Numbers, names and statements as people read them.

/// A duration: `850 ms`, `12 s`, `3 min 12 s`, `2 h 5 min`, `4 days 3 h`.
pub fn duration(secs: f64) -> String {
    let secs = if secs.is_finite() { secs.max(0.0) } else { 0.0 };
    if secs < 1.0 {
        return format!("{:.0} ms", secs * 1000.0);
    }
    let whole = secs as u64;
    let (days, hours, minutes, seconds) = (whole / 86400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if secs < 10.0 && secs.fract() >= 0.05 => format!("{secs:.1} s"),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => two(m, "min", seconds, "s"),
        (0, h, m) => two(h, "h", m, "min"),
        (1, h, _) => two(1, "day", h, "h"),
        (d, h, _) => two(d, "days", h, "h"),
    }
}

fn two(major: u64, major_unit: &str, minor: u64, minor_unit: &str) -> String {
    match minor {
        0 => format!("{major} {major_unit}"),
        _ => format!("{major} {major_unit} {minor} {minor_unit}"),
    }
}

/// A size with three significant digits in the units of PostgreSQL (1 kB is 1024 bytes).
pub fn bytes(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1000.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A whole number with thousands set apart.
pub fn count(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if n < 0 {
        out.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 session`, `2 sessions`.
pub fn plural(n: i64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {one}s", count(n)) }
}

/// A share from 0 to 1 in percent.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "0 %".to_owned();
    }
    let value = share * 100.0;
    // Not all is less than all.
    if (99.5..100.0).contains(&value) {
        return "over 99 %".to_owned();
    }
    if (0.0..10.0).contains(&value) && value.fract() >= 0.05 {
        format!("{value:.1} %")
    } else {
        format!("{value:.0} %")
    }
}

/// `a`, `a and b`, `a, b and c`; beyond `most` items, `a, b and 7 more`.
pub fn list<S: AsRef<str>>(items: &[S], most: usize) -> String {
    let (shown, more) = match items.len() {
        n if n <= most => (items, 0),
        n => (&items[..most], n - most),
    };
    let mut parts: Vec<String> = shown.iter().map(|item| item.as_ref().to_owned()).collect();
    if more > 0 {
        parts.push(format!("{} more", count(i64::try_from(more).unwrap_or(i64::MAX))));
    }
    match parts.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}

/// The beginning of a statement on one line, in back-quotes.
pub fn statement(query: &str) -> String {
    const CHARS_MAX: usize = 100;
    let line = query.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "'");
    if line.chars().count() <= CHARS_MAX {
        return format!("`{line}`");
    }
    let cut: String = line.chars().take(CHARS_MAX - 1).collect();
    format!("`{}…`", cut.trim_end())
}

/// A relation as people say it: without the `public` schema.
pub fn relation(qualified: &str) -> &str {
    qualified.strip_prefix("public.").unwrap_or(qualified)
}

/// Whether a name needs no quotes in SQL (keywords aside).
pub fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A name as SQL wants it, quoted when it must be.
pub fn identifier(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A text as an SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let table = [
            (0.0, "0 ms"),
            (0.85, "850 ms"),
            (2.34, "2.3 s"),
            (12.9, "12 s"),
            (192.0, "3 min 12 s"),
            (180.0, "3 min"),
            (7500.0, "2 h 5 min"),
            (86400.0, "1 day"),
            (4.0 * 86400.0 + 3.0 * 3600.0, "4 days 3 h"),
            (-3.0, "0 ms"),
            (f64::NAN, "0 ms"),
        ];
        for (secs, text) in table {
            assert_eq!(duration(secs), text, "{secs}");
        }
    }

    #[test]
    fn sizes_counts_and_lists_read_well() {
        assert_eq!(bytes(1000), "1000 B");
        assert_eq!(bytes(1536), "1.5 kB");
        assert_eq!(bytes(16 * 1024 * 1024), "16 MB");
        assert_eq!(bytes(1023 * 1024 * 1024), "1.0 GB");
        assert_eq!(count(-1_234_567), "-1,234,567");
        assert_eq!(count(100), "100");
        assert_eq!(plural(1, "session"), "1 session");
        assert_eq!(list(&["a"], 3), "a");
        assert_eq!(list(&["a", "b", "c"], 3), "a, b and c");
        assert_eq!(list(&["a", "b", "c", "d"], 2), "a, b and 2 more");
        assert_eq!(percent(0.9951), "over 99 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.042), "4.2 %");
    }

    #[test]
    fn names_are_quoted_when_they_must_be() {
        assert_eq!(identifier("orders"), "orders");
        assert_eq!(identifier("Order \"x\""), "\"Order \"\"x\"\"\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(secs in proptest::num::f64::ANY, n in proptest::num::i64::ANY, text in "\\PC{0,300}") {
            let _ = (duration(secs), percent(secs), bytes(n), count(n), plural(n, "x"));
            let said = statement(&text);
            proptest::prop_assert!(said.chars().count() <= 102);
            let _ = (identifier(&text), literal(&text), relation(&text).len());
        }
    }
}
