//! Making inclusion and consistency proofs from stored hashes (RFC 6962 sections 2.1.1 and 2.1.2).
//!
//! A proof of a tree of a million records takes twenty hashes. Each is the root of a range of leaves, and each such
//! range falls apart into perfect subtrees, whose roots never change once their leaves are there. Therefore a proof for
//! an old size can be made from a tree that has grown since.

use reeve_types::Digest;

use crate::merkle::{fold, perfect_root};

/// A perfect subtree: the leaves from `index << level` up to, without, `(index + 1) << level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    /// Its height; a leaf has 0.
    pub level: u32,
    /// Its place among the subtrees of its height, from the left.
    pub index: u64,
}

/// Where proofs get their hashes from.
pub trait Hashes {
    /// What can go wrong when reading.
    type Error;

    /// The root of a perfect subtree all of whose leaves are in the log.
    fn subtree(&self, at: Subtree) -> Result<Digest, Self::Error>;
}

/// The leaf hashes of a whole log in memory.
#[derive(Debug, Clone, Copy)]
pub struct LeafHashes<'a>(pub &'a [Digest]);

/// A hash that a proof needs is not at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tree's hash at level {level}, place {index} is missing: verify the log")]
pub struct MissingHash {
    /// Height of the subtree.
    pub level: u32,
    /// Place among the subtrees of its height.
    pub index: u64,
}

impl From<Subtree> for MissingHash {
    fn from(at: Subtree) -> Self {
        Self { level: at.level, index: at.index }
    }
}

impl Hashes for LeafHashes<'_> {
    type Error = MissingHash;

    fn subtree(&self, at: Subtree) -> Result<Digest, MissingHash> {
        let leaves = || {
            let width = 1u64.checked_shl(at.level)?;
            let from = at.index.checked_mul(width)?;
            let to = from.checked_add(width)?;
            self.0.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
        };
        leaves().and_then(perfect_root).ok_or_else(|| at.into())
    }
}

/// Why a proof cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// The index lies outside the tree.
    #[error("record {index} is not in a tree of {size} records")]
    OutsideTree {
        /// The asked index.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {old} records cannot come before one of {new}")]
    Shrinks {
        /// The size of the older tree.
        old: u64,
        /// The size of the newer tree.
        new: u64,
    },
    /// The stored hashes cannot be read.
    #[error("the stored hashes of the tree cannot be read")]
    Hashes(#[source] E),
}

/// The hashes that show that the record at `index` is in the tree of the first `size` records: those beside its path,
/// from the leaf up.
pub fn inclusion_proof<H: Hashes>(index: u64, size: u64, hashes: &H) -> Result<Vec<Digest>, ProveError<H::Error>> {
    let ranges = inclusion_ranges(index, size).ok_or(ProveError::OutsideTree { index, size })?;
    roots(&ranges, hashes)
}

/// The hashes that show that the first `old` of `new` records have not changed since there were only those. Empty when
/// `old` is 0 or equal to `new`.
pub fn consistency_proof<H: Hashes>(old: u64, new: u64, hashes: &H) -> Result<Vec<Digest>, ProveError<H::Error>> {
    let ranges = consistency_ranges(old, new).ok_or(ProveError::Shrinks { old, new })?;
    roots(&ranges, hashes)
}

/// Leaves from the first up to, without, the second; starts at a multiple of its width rounded up to a power of two.
pub(crate) type LeafRange = (u64, u64);

fn roots<H: Hashes>(ranges: &[LeafRange], hashes: &H) -> Result<Vec<Digest>, ProveError<H::Error>> {
    let mut proof = Vec::with_capacity(ranges.len());
    for range in ranges {
        let peaks = subtrees(*range).map(|at| hashes.subtree(at)).collect::<Result<Vec<_>, _>>();
        proof.extend(fold(&peaks.map_err(ProveError::Hashes)?));
    }
    Ok(proof)
}

/// The perfect subtrees that a range falls apart into, the largest first.
pub(crate) fn subtrees((mut from, to): LeafRange) -> impl Iterator<Item = Subtree> {
    std::iter::from_fn(move || {
        let level = to.checked_sub(from)?.checked_ilog2()?;
        let at = Subtree { level, index: from >> level };
        from += 1 << level;
        Some(at)
    })
}

/// How many leaves the left child of a tree with at least two leaves has: the largest power of two below their number.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

pub(crate) fn inclusion_ranges(index: u64, size: u64) -> Option<Vec<LeafRange>> {
    if index >= size {
        return None;
    }
    let (mut from, mut to, mut ranges) = (0, size, Vec::new());
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            ranges.push((middle, to));
            to = middle;
        } else {
            ranges.push((from, middle));
            from = middle;
        }
    }
    ranges.reverse();
    Some(ranges)
}

pub(crate) fn consistency_ranges(old: u64, new: u64) -> Option<Vec<LeafRange>> {
    if old > new {
        return None;
    }
    let (mut from, mut to, mut ranges) = (0, new, Vec::new());
    if old == 0 {
        return Some(ranges);
    }
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            ranges.push((middle, to));
            to = middle;
        } else {
            ranges.push((from, middle));
            from = middle;
        }
    }
    // What is left ends where the old tree ends. When it is the whole old tree, its root is known to whoever checks.
    if from != 0 {
        ranges.push((from, to));
    }
    ranges.reverse();
    Some(ranges)
}
