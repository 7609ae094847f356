//! The tree against the vectors that Certificate Transparency implementations share, and against itself at every small
//! size.

use reeve_audit::merkle::WrongPeaks;
use reeve_audit::{
    Frontier, Hashes, LeafHashes, MissingHash, ProofError, ProveError, Subtree, consistency_proof, empty_root,
    inclusion_proof, leaf_hash, node_hash, verify_consistency, verify_inclusion,
};
use reeve_types::Digest;

use crate::log::{leaves, root};

const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

/// Roots of the trees of 0 to 8 of these leaves.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn known_leaves() -> Vec<Digest> {
    LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect()
}

fn digests(texts: &[&str]) -> Vec<Digest> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn known_roots() {
    let mut tree = Frontier::new();
    for (size, leaf) in known_leaves().into_iter().enumerate() {
        assert_eq!(tree.root().to_string(), ROOTS[size]);
        assert_eq!(tree.append(leaf), size as u64);
    }
    assert_eq!(tree.root().to_string(), ROOTS[8]);
    assert_eq!(empty_root().to_string(), ROOTS[0]);
}

#[test]
fn known_inclusion_proofs() {
    let table: [(u64, u64, &[&str]); 5] = [
        (0, 1, &[]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    let leaves = known_leaves();
    for (index, size, known) in table {
        let proof = inclusion_proof(index, size, &LeafHashes(&leaves)).unwrap();
        assert_eq!(proof, digests(known), "{index} of {size}");
        let root = ROOTS[size as usize].parse().unwrap();
        verify_inclusion(&leaves[index as usize], index, size, &proof, &root).unwrap();
    }
}

#[test]
fn known_consistency_proofs() {
    let table: [(u64, u64, &[&str]); 4] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    let leaves = known_leaves();
    for (old, new, known) in table {
        let proof = consistency_proof(old, new, &LeafHashes(&leaves)).unwrap();
        assert_eq!(proof, digests(known), "{old} to {new}");
        let (a, b) = (ROOTS[old as usize].parse().unwrap(), ROOTS[new as usize].parse().unwrap());
        verify_consistency(old, &a, new, &b, &proof).unwrap();
    }
}

/// The definition of RFC 6962 section 2.1, word for word, as a second opinion on [`Frontier`].
fn root_by_definition(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root_by_definition(left), &root_by_definition(right))
        }
    }
}

fn flipped(digest: &Digest, bit: usize) -> Digest {
    let mut bytes = *digest.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Digest(bytes)
}

/// The root of every perfect subtree, so that a proof costs nothing to make.
struct Table(Vec<Vec<Digest>>);

impl Table {
    fn of(leaves: Vec<Digest>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let (pairs, _) = below.as_chunks::<2>();
            let above = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
            levels.push(above);
        }
        Self(levels)
    }
}

impl Hashes for Table {
    type Error = MissingHash;

    fn subtree(&self, at: Subtree) -> Result<Digest, MissingHash> {
        let level = self.0.get(at.level as usize).and_then(|level| level.get(at.index as usize));
        level.copied().ok_or_else(|| at.into())
    }
}

/// Which hashes of a proof to falsify: all of them in small trees, one of them in each larger one.
fn falsified(proof: &[Digest], size: u64, number: u64) -> Vec<usize> {
    match proof.len() {
        0 => vec![],
        len if size <= 64 => (0..len).collect(),
        len => vec![number as usize % len],
    }
}

#[test]
fn every_record_of_every_small_tree_is_proved_and_nothing_else() {
    let leaves = leaves(300);
    let table = Table::of(leaves.clone());
    let roots: Vec<Digest> = (0..=300).map(|size| root(&leaves[..size])).collect();
    for size in 1..=300u64 {
        let root = roots[size as usize];
        assert_eq!(root, root_by_definition(&leaves[..size as usize]));
        for index in 0..size {
            let leaf = leaves[index as usize];
            let proof = inclusion_proof(index, size, &table).unwrap();
            verify_inclusion(&leaf, index, size, &proof, &root).unwrap();
            // One bit for each pair, another one each time; all bits of one proof are flipped in the test below.
            let bit = (index * 7 + size * 13) as usize;
            for at in falsified(&proof, size, index) {
                let mut bad = proof.clone();
                bad[at] = flipped(&bad[at], bit);
                assert_eq!(verify_inclusion(&leaf, index, size, &bad, &root), Err(ProofError::WrongRoot { size }));
            }
            if size > 64 && (index + size) % 5 != 0 {
                continue;
            }
            assert!(verify_inclusion(&flipped(&leaf, bit), index, size, &proof, &root).is_err());
            assert!(verify_inclusion(&leaf, index, size, &proof, &flipped(&root, bit)).is_err());
            assert!(verify_inclusion(&leaf, index ^ 1, size, &proof, &root).is_err());
            assert!(verify_inclusion(&leaf, index + size, size, &proof, &root).is_err());
            let longer = [proof.as_slice(), &[leaf]].concat();
            assert!(verify_inclusion(&leaf, index, size, &longer, &root).is_err());
            if let Some((_, shorter)) = proof.split_last() {
                assert!(verify_inclusion(&leaf, index, size, shorter, &root).is_err());
            }
        }
    }
}

#[test]
fn every_growth_of_every_small_tree_is_proved_and_nothing_else() {
    let leaves = leaves(300);
    let table = Table::of(leaves.clone());
    let roots: Vec<Digest> = (0..=300).map(|size| root(&leaves[..size])).collect();
    for new in 0..=300u64 {
        for old in 0..=new {
            let (a, b) = (roots[old as usize], roots[new as usize]);
            let proof = consistency_proof(old, new, &table).unwrap();
            verify_consistency(old, &a, new, &b, &proof).unwrap();
            let bit = (old * 7 + new * 13) as usize;
            for at in falsified(&proof, new, old) {
                let mut bad = proof.clone();
                bad[at] = flipped(&bad[at], bit);
                assert!(verify_consistency(old, &a, new, &b, &bad).is_err(), "{old} to {new}, hash {at}");
            }
            if new > 64 && (old + new) % 5 != 0 {
                continue;
            }
            assert!(verify_consistency(old, &flipped(&a, bit), new, &b, &proof).is_err(), "{old} to {new}");
            let longer = [proof.as_slice(), &[a]].concat();
            assert!(verify_consistency(old, &a, new, &b, &longer).is_err(), "{old} to {new}");
            if old > 0 {
                assert!(verify_consistency(old, &a, new, &flipped(&b, bit), &proof).is_err(), "{old} to {new}");
                assert!(verify_consistency(old - 1, &a, new, &b, &proof).is_err(), "{old} to {new}");
            }
            if let Some((_, shorter)) = proof.split_last() {
                assert!(verify_consistency(old, &a, new, &b, shorter).is_err(), "{old} to {new}");
            }
        }
    }
}

#[test]
fn every_bit_of_a_proof_counts() {
    let leaves = leaves(23);
    let root = root(&leaves);
    let proof = inclusion_proof(20, 23, &LeafHashes(&leaves)).unwrap();
    for (at, bit) in (0..proof.len()).flat_map(|at| (0..256).map(move |bit| (at, bit))) {
        let mut bad = proof.clone();
        bad[at] = flipped(&bad[at], bit);
        assert!(verify_inclusion(&leaves[20], 20, 23, &bad, &root).is_err());
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let known = leaves(4);
    let hashes = LeafHashes(&known);
    assert_eq!(inclusion_proof(4, 4, &hashes), Err(ProveError::OutsideTree { index: 4, size: 4 }));
    assert_eq!(consistency_proof(4, 3, &hashes), Err(ProveError::Shrinks { old: 4, new: 3 }));
    assert!(matches!(inclusion_proof(0, 5, &hashes), Err(ProveError::Hashes(_))));
    assert!(matches!(inclusion_proof(0, u64::MAX, &hashes), Err(ProveError::Hashes(_))));
    let zero = Digest::ZERO;
    assert!(verify_inclusion(&zero, u64::MAX - 1, u64::MAX, &[zero; 64], &zero).is_err());
    assert!(verify_inclusion(&zero, 0, 0, &[], &zero).is_err());
    assert!(verify_consistency(u64::MAX - 1, &zero, u64::MAX, &zero, &[zero; 64]).is_err());
    assert_eq!(verify_consistency(2, &zero, 1, &zero, &[]), Err(ProofError::Shrinks { old: 2, new: 1 }));
    // Nothing but the right root counts for the empty tree.
    assert!(verify_consistency(0, &zero, 5, &zero, &[]).is_err());
    assert!(verify_consistency(0, &zero, 0, &zero, &[]).is_err());
    assert!(verify_consistency(0, &empty_root(), 0, &zero, &[]).is_err());
    verify_consistency(0, &empty_root(), 0, &empty_root(), &[]).unwrap();
}

#[test]
fn a_stored_frontier_goes_on_growing() {
    let leaves = leaves(100);
    let mut tree = Frontier::new();
    for (size, leaf) in leaves.iter().enumerate() {
        tree = Frontier::from_parts(size as u64, tree.peaks().to_vec()).unwrap();
        tree.append(*leaf);
    }
    assert_eq!(tree.root(), root(&leaves));
    let wrong = Frontier::from_parts(7, vec![Digest::ZERO; 2]);
    assert_eq!(wrong, Err(WrongPeaks { size: 7, expected: 3, found: 2 }));
}
