//! Trees kept in tiles, against trees kept whole.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reeve_audit::tiles::{
    TILE_BYTES, hashes_from_bytes, reads_for_consistency, reads_for_inclusion, reads_for_restore,
};
use reeve_audit::{
    Fetched, Frontier, LeafHashes, Read, TileId, TiledTree, consistency_proof, inclusion_proof, verify_consistency,
    verify_inclusion,
};
use reeve_types::Digest;

use crate::log::{leaves, root};

/// What a database would hold: a leaf hash per record, and the hashes and the root of each complete tile.
#[derive(Default)]
struct Stored {
    leaves: Vec<Digest>,
    tiles: BTreeMap<TileId, (Vec<u8>, Digest)>,
}

impl Stored {
    fn append(&mut self, tree: &mut TiledTree, leaf: Digest) {
        self.leaves.push(leaf);
        for tile in tree.append(leaf) {
            let bytes = tile.to_bytes();
            assert_eq!(bytes.len(), TILE_BYTES);
            assert!(self.tiles.insert(tile.id, (bytes, tile.root)).is_none(), "{:?} was complete before", tile.id);
        }
    }

    fn fetch(&self, reads: &[Read]) -> Fetched {
        let mut fetched = Fetched::new();
        for read in reads {
            let hashes: Vec<Digest> = match *read {
                Read::Tile(id) => hashes_from_bytes(&self.tiles[&id].0).unwrap(),
                Read::Entries { level: 0, from, to } => self.leaves[from as usize..to as usize].to_vec(),
                Read::Entries { level, from, to } => {
                    (from..to).map(|index| self.tiles[&TileId { level: level - 1, index }].1).collect()
                }
            };
            fetched.insert(read, &hashes).unwrap();
        }
        fetched
    }
}

fn grown(leaves: &[Digest]) -> (Stored, TiledTree) {
    let (mut stored, mut tree) = (Stored::default(), TiledTree::new());
    for leaf in leaves {
        stored.append(&mut tree, *leaf);
    }
    (stored, tree)
}

#[test]
fn a_tree_of_70000_has_the_tiles_that_the_format_names() {
    let leaves = leaves(70_000);
    let (stored, tree) = grown(&leaves);
    let at_level = |level| stored.tiles.keys().filter(|id| id.level == level).count();
    assert_eq!((at_level(0), at_level(1), at_level(2)), (273, 1, 0));
    assert_eq!(tree.root(), root(&leaves));
    assert_eq!(tree.size(), 70_000);
    // Each entry above level 0 is the root of the 256 leaves, or tiles, below.
    let (bytes, top) = &stored.tiles[&TileId { level: 1, index: 0 }];
    assert_eq!(hashes_from_bytes(bytes).unwrap()[3], root(&leaves[3 * 256..4 * 256]));
    assert_eq!(*top, root(&leaves[..65_536]));
    // The tails: 112 leaves, 17 tiles, one tile of tiles.
    let tails = [
        Read::Entries { level: 0, from: 69_888, to: 70_000 },
        Read::Entries { level: 1, from: 256, to: 273 },
        Read::Entries { level: 2, from: 0, to: 1 },
    ];
    assert_eq!(reads_for_restore(70_000), tails);
}

#[test]
fn a_tree_goes_on_from_what_is_stored() {
    let leaves = leaves(66_500);
    let (mut stored, mut tree) = (Stored::default(), TiledTree::new());
    for (size, leaf) in leaves.iter().enumerate() {
        let near_an_edge = size % 256 < 2 || size % 256 == 255;
        if near_an_edge && !(2_000..65_000).contains(&size) {
            let fetched = stored.fetch(&reads_for_restore(size as u64));
            let again = TiledTree::restore(size as u64, &fetched).unwrap();
            assert_eq!(again, tree, "{size}");
            tree = again;
        }
        stored.append(&mut tree, *leaf);
    }
    assert_eq!(tree.root(), root(&leaves));
    assert!(TiledTree::restore(66_500, &Fetched::new()).is_err());
}

#[test]
fn proofs_from_tiles_are_those_from_all_leaves() {
    let leaves = leaves(1_100);
    let (stored, tree) = grown(&leaves);
    let whole = LeafHashes(&leaves);
    // Also for sizes at which some tiles were not complete yet.
    for size in [1, 2, 255, 256, 257, 511, 512, 700, 1_024, 1_099, 1_100u64] {
        for index in (0..size).step_by(37) {
            let fetched = stored.fetch(&reads_for_inclusion(index, size).unwrap());
            let proof = inclusion_proof(index, size, &fetched).unwrap();
            assert_eq!(proof, inclusion_proof(index, size, &whole).unwrap(), "{index} of {size}");
        }
        for old in (0..=size).step_by(41) {
            let fetched = stored.fetch(&reads_for_consistency(old, size).unwrap());
            let proof = consistency_proof(old, size, &fetched).unwrap();
            assert_eq!(proof, consistency_proof(old, size, &whole).unwrap(), "{old} to {size}");
        }
    }
    assert_eq!(tree.frontier(), &frontier(&leaves));
    assert_eq!(reads_for_inclusion(5, 5), None);
    assert_eq!(reads_for_consistency(6, 5), None);
}

fn frontier(leaves: &[Digest]) -> Frontier {
    let mut tree = Frontier::new();
    for leaf in leaves {
        tree.append(*leaf);
    }
    tree
}

#[test]
fn a_proof_of_a_million_records_takes_few_reads() {
    let size = 1_000_000;
    for index in [0, 1, 255, 256, 65_535, 65_536, 499_999, 983_040, 999_935, 999_936, 999_999] {
        let reads = reads_for_inclusion(index, size).unwrap();
        let hashes: u64 = reads.iter().map(Read::count).sum();
        assert!(reads.len() <= 5 && hashes <= 5 * 256, "{index}: {reads:?}");
        let reads = reads_for_consistency(index, size).unwrap();
        assert!(reads.len() <= 5, "{index}: {reads:?}");
    }
    assert_eq!(reads_for_restore(size).len(), 3);
}

#[test]
fn a_wrong_number_of_hashes_is_noticed() {
    let mut fetched = Fetched::new();
    let read = Read::Tile(TileId { level: 0, index: 0 });
    assert!(fetched.insert(&read, &[Digest::ZERO; 255]).is_err());
    assert!(inclusion_proof(0, 256, &fetched).is_err());
    assert_eq!(hashes_from_bytes(&[0; 33]), None);
}

#[test]
fn paths_are_those_of_the_format() {
    let table = [
        (TileId { level: 0, index: 0 }, "tile/0/000"),
        (TileId { level: 1, index: 999 }, "tile/1/999"),
        (TileId { level: 2, index: 1_234_067 }, "tile/2/x001/x234/067"),
    ];
    for (id, path) in table {
        assert_eq!(id.path(), path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_proof_from_tiles_holds(size in 1u64..5_000, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let leaves = leaves(size);
        let (stored, tree) = grown(&leaves);
        let (index, old) = (a.index(leaves.len()) as u64, b.index(leaves.len()) as u64);
        let fetched = stored.fetch(&reads_for_inclusion(index, size).unwrap());
        let proof = inclusion_proof(index, size, &fetched).unwrap();
        prop_assert!(verify_inclusion(&leaves[index as usize], index, size, &proof, &tree.root()).is_ok());
        let fetched = stored.fetch(&reads_for_consistency(old, size).unwrap());
        let proof = consistency_proof(old, size, &fetched).unwrap();
        let old_root = root(&leaves[..old as usize]);
        prop_assert!(verify_consistency(old, &old_root, size, &tree.root(), &proof).is_ok());
    }
}
