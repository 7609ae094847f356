//! The Merkle tree of RFC 6962 section 2.1 over SHA-256, and the checking of its proofs (RFC 9162 section 2.1).
//!
//! Leaves and inner nodes are hashed under different prefixes, so that neither can be passed off as the other.

use reeve_types::Digest;

/// No proof is longer: a tree of 2^64 leaves has 64 levels.
pub const PROOF_HASHES_MAX: usize = 64;

/// The root of the tree without leaves: the digest of nothing.
pub fn empty_root() -> Digest {
    Digest::of(&[])
}

/// The hash of a leaf: SHA-256 of a zero byte and the leaf's bytes.
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    Digest::of_parts(&[&[0x00], bytes])
}

/// The hash of an inner node: SHA-256 of a one byte, the left child and the right child.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut block = [0x01; 65];
    block[1..33].copy_from_slice(left.as_bytes());
    block[33..].copy_from_slice(right.as_bytes());
    Digest::of(&block)
}

/// The root over perfect subtrees given from left to right; the smallest is last.
pub(crate) fn fold(peaks: &[Digest]) -> Option<Digest> {
    let (last, rest) = peaks.split_last()?;
    Some(rest.iter().rev().fold(*last, |right, left| node_hash(left, &right)))
}

/// The root of a perfect subtree over its lowest nodes; none when their number is not a power of two.
pub(crate) fn perfect_root(nodes: &[Digest]) -> Option<Digest> {
    if !nodes.len().is_power_of_two() {
        return None;
    }
    let mut level = nodes.to_vec();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level.first().copied()
}

/// A growing tree, of which only the roots of its perfect subtrees are kept: at most 64 digests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// One for each one-bit of `size`, the largest subtree first.
    peaks: Vec<Digest>,
}

/// The number of peaks does not fit the size of the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves has {expected} peaks, but {found} were given: read the tree again from its records")]
pub struct WrongPeaks {
    /// The size that was claimed.
    pub size: u64,
    /// How many peaks such a tree has.
    pub expected: u32,
    /// How many were given.
    pub found: usize,
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of a size whose perfect subtrees have these roots, the largest first.
    pub fn from_parts(size: u64, peaks: Vec<Digest>) -> Result<Self, WrongPeaks> {
        let expected = size.count_ones();
        if usize::try_from(expected) != Ok(peaks.len()) {
            return Err(WrongPeaks { size, expected, found: peaks.len() });
        }
        Ok(Self { size, peaks })
    }

    /// Adds a leaf by its [`leaf_hash`] and returns its index. A tree of 2^64 - 1 leaves takes no more and stays as it is.
    pub fn append(&mut self, leaf: Digest) -> u64 {
        let index = self.size;
        let Some(size) = index.checked_add(1) else { return index };
        let mut node = leaf;
        // Each one-bit at the low end of the old size is a perfect subtree that this leaf completes a larger one with.
        for _ in 0..index.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            node = node_hash(&left, &node);
        }
        self.peaks.push(node);
        self.size = size;
        index
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        fold(&self.peaks).unwrap_or_else(empty_root)
    }

    /// The roots of the perfect subtrees, the largest first; with [`Frontier::size`] all that must be stored.
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }
}

/// Why a proof does not show what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index lies outside the tree.
    #[error("record {index} is not in a tree of {size} records")]
    OutsideTree {
        /// The claimed index.
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
    /// It has too few or too many hashes for these sizes.
    #[error("the proof has {found} hashes, which does not fit the sizes it speaks of")]
    WrongLength {
        /// How many hashes it has.
        found: usize,
    },
    /// It leads to another root than the given one.
    #[error("the proof does not lead to the root of the tree of {size} records")]
    WrongRoot {
        /// The size of the tree whose root it should lead to.
        size: u64,
    },
}

/// Checks that a leaf is at an index of the tree of a size and root (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutsideTree { index, size });
    }
    let wrong_length = ProofError::WrongLength { found: proof.len() };
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // The last node of an odd level has no sibling there: it rises until it is a right child.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if hash != *root {
        return Err(ProofError::WrongRoot { size });
    }
    Ok(())
}

/// Checks that the tree of the new size begins with all the leaves of the tree of the old size
/// (RFC 9162 section 2.1.4.2).
///
/// Every tree continues the empty one and itself; the proof is empty then, and the roots must be the right ones.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Digest,
    new_size: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Shrinks { old: old_size, new: new_size });
    }
    let wrong_length = ProofError::WrongLength { found: proof.len() };
    if old_size == 0 || old_size == new_size {
        let expected = if old_size == 0 { empty_root() } else { *new_root };
        return match (proof.is_empty(), *old_root == expected, new_size == 0 && *new_root != expected) {
            (false, _, _) => Err(wrong_length),
            (true, true, false) => Ok(()),
            (true, false, _) => Err(ProofError::WrongRoot { size: old_size }),
            (true, true, true) => Err(ProofError::WrongRoot { size: new_size }),
        };
    }
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    let skipped = node.trailing_ones();
    node >>= skipped;
    last >>= skipped;
    // An old tree that is itself a perfect subtree of the new one starts the proof; its root is known already.
    let (start, rest) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(wrong_length.clone())?;
        (first, rest)
    };
    let (mut old_hash, mut new_hash) = (*start, *start);
    for sibling in rest {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if old_hash != *old_root {
        return Err(ProofError::WrongRoot { size: old_size });
    }
    if new_hash != *new_root {
        return Err(ProofError::WrongRoot { size: new_size });
    }
    Ok(())
}
