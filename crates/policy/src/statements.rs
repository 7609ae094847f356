//! A look at Cedar text before it is parsed: where its statements begin, and whether it is nested too deeply.
//!
//! The Cedar parser recurses, so text that nests without end would end the process instead of giving an error. What is
//! let through here is parsed on a stack that suffices for it with room to spare.

use crate::source::Place;

/// The deepest nesting of brackets in one statement. Nobody writes half of that.
const DEEPEST: usize = 32;

/// The most operators in one statement, each `when` and `unless` counted as one, since they join to one expression.
/// Evaluation recurses through them on the caller's stack.
const MOST_OPERATORS: usize = 64;

/// The most member accesses in one statement. They nest in hostile text only, which the type checker refuses.
const MOST_ACCESSES: usize = 1024;

/// The stack on which text within these bounds is parsed: several times what an unoptimised build takes.
pub(crate) const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Text that is not given to the parser.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooComplex {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Where each `permit` or `forbid` begins, in order.
pub(crate) fn find(text: &str) -> Result<Vec<Place>, TooComplex> {
    let bytes = text.as_bytes();
    let mut scan = Scan { text, places: Vec::new(), depth: 0, operators: 0, accesses: 0 };
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let next = bytes.get(at + 1);
        at += match byte {
            b'/' if next == Some(&b'/') => bytes.iter().skip(at).take_while(|b| **b != b'\n').count(),
            b'"' => string_length(bytes, at),
            b'@' => 1 + word_length(bytes, at + 1),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let length = word_length(bytes, at);
                scan.word(at, length)?;
                length
            }
            b'&' | b'|' if next == Some(byte) => scan.operator(at, 2)?,
            b'+' | b'-' | b'*' | b'!' => scan.operator(at, 1)?,
            b'.' => scan.access(at)?,
            b'{' | b'(' | b'[' => scan.open(at)?,
            b'}' | b')' | b']' => {
                scan.depth = scan.depth.saturating_sub(1);
                1
            }
            _ => 1,
        };
    }
    Ok(scan.places)
}

struct Scan<'t> {
    text: &'t str,
    places: Vec<Place>,
    depth: usize,
    operators: usize,
    accesses: usize,
}

impl Scan<'_> {
    fn word(&mut self, at: usize, length: usize) -> Result<(), TooComplex> {
        match self.text.get(at..at + length) {
            Some("permit" | "forbid") if self.depth == 0 => {
                self.places.push(Place::of_offset(self.text, at));
                (self.operators, self.accesses) = (0, 0);
            }
            Some("when" | "unless" | "if") => {
                self.operator(at, length)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn operator(&mut self, at: usize, length: usize) -> Result<usize, TooComplex> {
        self.operators += 1;
        if self.operators > MOST_OPERATORS {
            return Err(self.refuse(at, format!("more than {MOST_OPERATORS} operators and clauses in one policy")));
        }
        Ok(length)
    }

    fn access(&mut self, at: usize) -> Result<usize, TooComplex> {
        self.accesses += 1;
        if self.accesses > MOST_ACCESSES {
            return Err(self.refuse(at, format!("more than {MOST_ACCESSES} member accesses in one policy")));
        }
        Ok(1)
    }

    fn open(&mut self, at: usize) -> Result<usize, TooComplex> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.refuse(at, format!("brackets nested more than {DEEPEST} deep")));
        }
        Ok(1)
    }

    fn refuse(&self, at: usize, message: String) -> TooComplex {
        TooComplex { place: Place::of_offset(self.text, at), message }
    }
}

fn word_length(bytes: &[u8], at: usize) -> usize {
    bytes.iter().skip(at).take_while(|b| **b == b'_' || b.is_ascii_alphanumeric()).count()
}

/// The length of a string literal with its quotes; to the end of the text when nothing closes it.
fn string_length(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1 - start,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at - start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_found_outside_strings_comments_and_annotations() {
        let text = "// permit (x)\n@permit(\"forbid ( \\\" permit\")\npermit (principal, action, resource)\n\
                    when { context.tool == \"}; forbid\" };\n  forbid (principal, action, resource);";
        let places: Vec<String> = find(text).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(places, ["3:1", "5:3"]);
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused() {
        let nested = |open: &str, times: usize| find(&format!("permit (p, a, r) when {{ {} }};", open.repeat(times)));
        assert!(nested("(", DEEPEST - 1).is_ok());
        assert!(nested("(", DEEPEST).is_err());
        for operator in ["1 && ", "1 || ", "!", "1 + ", "if x then y else ", "} when {"] {
            // The first clause counts, too.
            assert!(nested(operator, MOST_OPERATORS - 1).is_ok(), "{operator}");
            assert!(nested(operator, MOST_OPERATORS).is_err(), "{operator}");
        }
        assert!(nested("a.", MOST_ACCESSES).is_ok());
        assert!(nested("a.", MOST_ACCESSES + 1).is_err());
        assert!(find(&"permit (p, a, r) when { a && b };".repeat(1_000)).is_ok(), "each statement for itself");
    }
}
