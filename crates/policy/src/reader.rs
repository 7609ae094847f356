//! Typed access to a YAML tree that gathers complaints instead of stopping at the first.
//!
//! Environment references are expanded here, in values, after parsing: so a variable's content can never become YAML
//! structure, and an undefined one is reported at its place.

use std::str::FromStr;

use crate::source::{Complaints, Place, closest};
use crate::yaml::{Key, Node, Value};

/// Looks up variables; the caller decides where they come from.
pub(crate) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Reads nodes into values. Every method complains and gives `None` when the node is not what is wanted.
pub(crate) struct Reader<'s, 'e> {
    pub(crate) complaints: Complaints<'s>,
    environment: Environment<'e>,
}

/// The entries of a mapping, all of known keys.
pub(crate) struct Fields<'n> {
    pub(crate) place: Place,
    entries: Vec<(&'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// The value of a key. An explicit null counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|(key, node)| key.text == name && !matches!(node.value, Value::Null))
            .map(|(_, node)| *node)
    }

    pub(crate) fn key_place(&self, name: &str) -> Place {
        self.entries.iter().find(|(key, _)| key.text == name).map_or(self.place, |(key, _)| key.place)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'n Key, &'n Node)> + '_ {
        self.entries.iter().copied()
    }
}

impl<'s, 'e> Reader<'s, 'e> {
    pub(crate) fn new(complaints: Complaints<'s>, environment: Environment<'e>) -> Self {
        Self { complaints, environment }
    }

    pub(crate) fn complain(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.complaints.add(place, message, hint);
    }

    /// A mapping with none but the known keys; each unknown key is a complaint.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            self.complain(
                node.place,
                format!("{what} is {}, not a mapping", node.value.describe()),
                format!("its keys are {}", listed(known)),
            );
            return None;
        };
        let mut kept = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if known.contains(&key.text.as_str()) {
                kept.push((key, value));
            } else {
                let hint = match closest(&key.text, known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("its keys are {}", listed(known)),
                };
                self.complain(key.place, format!("`{}` is not a key of {what}", shortened(&key.text)), hint);
            }
        }
        Some(Fields { place: node.place, entries: kept })
    }

    /// The items of a list that names at least one.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.complain(node.place, format!("`{what}` is empty"), "name at least one, or leave the key out");
                None
            }
            Value::List(items) => Some(items),
            other => {
                self.complain(node.place, format!("`{what}` is {}, not a list", other.describe()), "");
                None
            }
        }
    }

    /// A list, or one value that stands for a list of one.
    pub(crate) fn one_or_more<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(_) => self.list(node, what),
            _ => Some(std::slice::from_ref(node)),
        }
    }

    /// Text, expanded and not empty.
    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.any_text(node, what)?;
        if text.trim().is_empty() {
            self.complain(node.place, format!("`{what}` is empty"), "");
            return None;
        }
        Some(text)
    }

    /// Text, expanded, possibly empty.
    pub(crate) fn any_text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => self.expand(text, node.place),
            Value::Int(number) => Some(number.to_string()),
            other => {
                self.complain(
                    node.place,
                    format!("`{what}` is {}, not text", other.describe()),
                    "put it in quotes if it is meant as text",
                );
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(crate) fn integer(&mut self, node: &Node, what: &str, least: i64, most: i64) -> Option<i64> {
        let number = match &node.value {
            Value::Int(number) => Some(*number),
            Value::Text(text) => self.expand(text, node.place)?.trim().parse().ok(),
            _ => None,
        };
        let fine = number.filter(|n| (least..=most).contains(n));
        if fine.is_none() {
            self.complain(node.place, format!("`{what}` must be a whole number from {least} to {most}"), "");
        }
        fine
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        let value = match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) => self.expand(text, node.place)?.trim().parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.complain(node.place, format!("`{what}` must be true or false"), "");
        }
        value
    }

    /// One word of a closed vocabulary.
    pub(crate) fn word<T: FromStr>(&mut self, node: &Node, what: &str, known: &[&str]) -> Option<T> {
        let text = self.text(node, what)?;
        let value = text.parse().ok();
        if value.is_none() {
            let hint = match closest(&text, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("use {}", listed(known)),
            };
            self.complain(node.place, format!("`{}` is not a value of `{what}`", shortened(&text)), hint);
        }
        value
    }

    /// A list of words of a closed vocabulary, or one.
    pub(crate) fn words<T: FromStr + PartialEq>(&mut self, node: &Node, what: &str, known: &[&str]) -> Vec<T> {
        let mut found = Vec::new();
        for item in self.one_or_more(node, what).unwrap_or_default() {
            if let Some(word) = self.word(item, what, known)
                && !found.contains(&word)
            {
                found.push(word);
            }
        }
        found
    }

    /// A list of texts, or one.
    pub(crate) fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        let items = self.one_or_more(node, what).unwrap_or_default();
        items.iter().filter_map(|item| self.text(item, what)).collect()
    }

    /// Replaces `$NAME` and `${NAME}`; `$$` is a dollar sign, and so is one that no name follows.
    fn expand(&mut self, text: &str, place: Place) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut complete = true;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(tail) = after.strip_prefix('$') {
                out.push('$');
                rest = tail;
                continue;
            }
            let (name, tail) = match after.strip_prefix('{') {
                Some(inner) => match inner.split_once('}') {
                    Some((name, tail)) if is_name(name) => (name, tail),
                    _ => {
                        self.complain(place, "`${` opens no variable", "write ${NAME}, or $$ for a dollar sign");
                        return None;
                    }
                },
                None => after.split_at(name_length(after)),
            };
            rest = tail;
            if name.is_empty() {
                out.push('$');
                continue;
            }
            match (self.environment)(name) {
                Some(value) => out.push_str(&value),
                None => {
                    let message = format!("the variable `{}` is not set", shortened(name));
                    self.complain(place, message, "set it, or write $$ for a dollar sign");
                    complete = false;
                }
            }
        }
        out.push_str(rest);
        complete.then_some(out)
    }
}

/// How many bytes at the start of a text are a variable's name.
fn name_length(text: &str) -> usize {
    let starts = text.bytes().next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic());
    if starts { text.bytes().take_while(|b| *b == b'_' || b.is_ascii_alphanumeric()).count() } else { 0 }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && name_length(text) == text.len()
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
    quoted.join(", ")
}

/// A word of the file as a message shows it.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}
