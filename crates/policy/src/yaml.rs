//! YAML as a tree in which every key and value knows its place.
//!
//! The one place that knows the YAML crate. Its own error would stop at the first unknown key; a tree lets the readers
//! report everything that is wrong with a file at once. Budgets bound what a hostile file can cost.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::source::{Complaints, Place};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A YAML value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// A number that is no 64-bit integer.
    Float,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

impl Value {
    /// What to call it in a message.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// A key of a mapping and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) text: String,
}

/// The largest policy file, in bytes: far above any that people write.
pub(crate) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Reads one document. `None` means that it is no YAML, and a complaint says why.
pub(crate) fn read(text: &str, complaints: &mut Complaints<'_>) -> Option<Node> {
    if text.len() > MAX_BYTES {
        complaints.add(
            Place::default(),
            format!("the file has {} bytes, more than the {MAX_BYTES} that are read", text.len()),
            "split it",
        );
        return None;
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 400_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: MAX_BYTES,
            max_depth: 32,
            max_documents: 1,
            max_nodes: 200_000,
            max_total_scalar_bytes: MAX_BYTES,
            max_merge_keys: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 500,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Tree>>(text, options) {
        Ok(tree) => Some(node(tree)),
        Err(error) => {
            let place = error.location().map_or_else(Place::default, place_of);
            match error.without_snippet() {
                serde_saphyr::Error::DuplicateMappingKey { .. } => {
                    complaints.add(place, "the key stands here a second time", "keep one of them");
                }
                other => complaints.add(place, format!("not readable as YAML: {}", first_line(other)), ""),
            }
            None
        }
    }
}

/// The first line of a YAML error without the place, which is told apart.
fn first_line(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    line.trim_start_matches("error: ").trim_end_matches('.').to_owned()
}

fn place_of(location: serde_saphyr::Location) -> Place {
    Place {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

fn node(spanned: Spanned<Tree>) -> Node {
    let place = place_of(spanned.referenced);
    let value = match spanned.value {
        Tree::Leaf(value) => value,
        Tree::List(items) => Value::List(items.into_iter().map(node).collect()),
        Tree::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Key { place: place_of(key.referenced), text: key.value }, node(value)))
                .collect(),
        ),
    };
    Node { place, value }
}

/// What the YAML crate builds; turned into [`Node`]s at once so that its types stay here.
enum Tree {
    Leaf(Value),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }
    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Bool(value)))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Int(value)))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(i64::try_from(value).map_or(Value::Float, Value::Int)))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Float))
    }
    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Text(value.to_owned())))
    }
    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Text(value)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}
