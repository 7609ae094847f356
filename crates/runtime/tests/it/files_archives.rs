//! Files: packing and unpacking, hostile archives among them.
#![expect(clippy::expect_used, reason = "a test that cannot go on says so")]

use std::io::{Seek as _, Write as _};

use proptest::prelude::*;
use reeve_types::workspace::files::{ArchiveFormat, Extracted, SaveFile};
use reeve_types::{ProblemCode, WorkspaceError};

use crate::files::{Place, code, path, wish};

fn unpack(place: &Place, into: &[u8], format: ArchiveFormat, bytes: &[u8]) -> Result<Extracted, WorkspaceError> {
    let mut archive = tempfile::tempfile().expect("a file");
    archive.write_all(bytes).expect("bytes");
    archive.rewind().expect("its start");
    place.files.extract(&SaveFile { path: path(into), ..wish(b"x", bytes) }, format, archive)
}

fn zipped(bytes: &[u8], level: flate2::Compression) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), level);
    gz.write_all(bytes).expect("bytes");
    gz.finish().expect("a gzip")
}

/// A tar of raw entries, whatever their names are.
fn tar_of(entries: &[(&[u8], tar::EntryType, &[u8])]) -> Vec<u8> {
    zipped(&plain_tar_of(entries), flate2::Compression::none())
}

fn plain_tar_of(entries: &[(&[u8], tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_old();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
        }
        let content = if *kind == tar::EntryType::Regular { *content } else { b"" };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).expect("an entry");
    }
    builder.into_inner().expect("a tar")
}

/// A mebibyte of zeros, packed as tightly as can be.
fn tight() -> Vec<u8> {
    zipped(&vec![0; 1 << 20], flate2::Compression::best())
}

/// A tar with one file of many zeros, packed as many members of one gzip: what one member costs to pack, all cost.
fn tar_bomb(mebibytes: usize) -> Vec<u8> {
    let mut header = tar::Header::new_old();
    header.set_path("zeros").expect("a name");
    header.set_size((mebibytes as u64) << 20);
    header.set_mode(0o644);
    header.set_cksum();
    let mut packed = zipped(header.as_bytes(), flate2::Compression::best());
    packed.extend(tight().repeat(mebibytes));
    packed.extend(zipped(&[0; 1024], flate2::Compression::best()));
    packed
}

/// A tar with more entries than any may have.
fn tar_of_too_many() -> Vec<u8> {
    let one = plain_tar_of(&[(b"a", tar::EntryType::Directory, b"")]);
    let thousand = zipped(&one[..512].repeat(1000), flate2::Compression::best());
    [thousand.repeat(101), zipped(&[0; 1024], flate2::Compression::best())].concat()
}

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).expect("an entry");
        writer.write_all(content).expect("content");
    }
    writer.finish().expect("a zip").into_inner()
}

/// A zip with one file of many zeros. Its deflated bytes are one flushed block over and over.
fn zip_bomb(mebibytes: u32) -> Vec<u8> {
    let mut deflate = flate2::Compress::new(flate2::Compression::best(), false);
    let mut block = Vec::with_capacity(64 * 1024);
    deflate.compress_vec(&vec![0; 1 << 20], &mut block, flate2::FlushCompress::Full).expect("a block");
    let mut packed = block.repeat(mebibytes as usize);
    // An empty last block.
    packed.extend([0x03, 0x00]);
    let packed_size = u32::try_from(packed.len()).expect("a size");
    let crc = (0..mebibytes).fold(flate2::Crc::new(), |mut crc, _| {
        crc.update(&[0; 1 << 20]);
        crc
    });
    let mut sizes = crc.sum().to_le_bytes().to_vec();
    sizes.extend(packed_size.to_le_bytes());
    sizes.extend((mebibytes << 20).to_le_bytes());
    sizes.extend(5u16.to_le_bytes());
    sizes.extend(0u16.to_le_bytes());
    let mut zip = b"PK\x03\x04\x14\x00\x00\x00\x08\x00\x00\x00\x21\x00".to_vec();
    zip.extend(&sizes);
    zip.extend(b"zeros");
    zip.extend(&packed);
    let directory = u32::try_from(zip.len()).expect("an offset");
    zip.extend(b"PK\x01\x02\x14\x00\x14\x00\x00\x00\x08\x00\x00\x00\x21\x00");
    zip.extend(&sizes);
    zip.extend([0; 14]);
    zip.extend(b"zeros");
    let length = u32::try_from(zip.len()).expect("an offset") - directory;
    zip.extend(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    zip.extend(length.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend([0, 0]);
    zip
}

const FILE: tar::EntryType = tar::EntryType::Regular;

#[test]
fn what_is_packed_can_be_unpacked() {
    for format in [ArchiveFormat::TarGz, ArchiveFormat::Zip] {
        let place = Place::new();
        let long = format!("src/{}/f", "n".repeat(150));
        place.write("src/a.txt", "content\r\n");
        place.write("src/sub/run.sh", "#!/bin/sh\n");
        place.write("src/empty", "");
        place.write(&long, "long");
        let mut packed = Vec::new();
        place.files.archive(&path(b"src"), format, &mut packed).expect("packed");
        let extracted = unpack(&place, b"into", format, &packed).expect("unpacked");
        assert_eq!(extracted, Extracted { files: 4, bytes: 23 }, "{format:?}");
        for name in ["src/a.txt", "src/sub/run.sh", "src/empty", &long] {
            let back = place.read(format!("into/{name}").as_bytes()).expect(name);
            assert_eq!(back, std::fs::read(place.at(name)).expect(name), "{name}");
        }
        place.nothing_left_behind();
    }
}

#[test]
fn links_are_packed_as_links_and_reeves_own_is_left_out() {
    let place = Place::new();
    place.write("f", "x");
    std::os::unix::fs::symlink("../canary", place.at("out")).expect("a link");
    for format in [ArchiveFormat::TarGz, ArchiveFormat::Zip] {
        let mut packed = Vec::new();
        place.files.archive(&path(b""), format, &mut packed).expect("packed");
        assert!(!packed.windows(5).any(|bytes| bytes == b"sings"));
        assert_eq!(code(unpack(&place, b"into", format, &packed)), ProblemCode::HostileArchive, "{format:?}");
        assert_eq!(code(place.files.archive(&path(b".reeve-trash"), format, &mut packed)), ProblemCode::NotFound);
    }
    let mut packed = Vec::new();
    place.files.archive(&path(b""), ArchiveFormat::TarGz, &mut packed).expect("packed");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&packed[..]));
    let names: Vec<_> = tar
        .entries()
        .expect("entries")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert_eq!(names, ["workspace", "workspace/f", "workspace/into", "workspace/out"]);
}

#[test]
fn a_hostile_archive_is_refused_and_leaves_nothing() {
    use tar::EntryType;
    let place = Place::in_memory();
    let archives = [
        ("absolute", ArchiveFormat::TarGz, tar_of(&[(b"ok", FILE, b"x"), (b"/etc/x", FILE, b"x")])),
        ("up", ArchiveFormat::TarGz, tar_of(&[(b"ok", FILE, b"x"), (b"../canary", FILE, b"x")])),
        ("up inside", ArchiveFormat::TarGz, tar_of(&[(b"a/../../canary", FILE, b"x")])),
        ("link", ArchiveFormat::TarGz, tar_of(&[(b"l", EntryType::Symlink, b"..")])),
        (
            "through a link",
            ArchiveFormat::TarGz,
            tar_of(&[(b"l", EntryType::Symlink, b".."), (b"l/canary", FILE, b"x")]),
        ),
        ("hard link", ArchiveFormat::TarGz, tar_of(&[(b"l", EntryType::Link, b"../canary")])),
        ("device", ArchiveFormat::TarGz, tar_of(&[(b"d", EntryType::Char, b"")])),
        ("pipe", ArchiveFormat::TarGz, tar_of(&[(b"p", EntryType::Fifo, b"")])),
        ("twice", ArchiveFormat::TarGz, tar_of(&[(b"a", FILE, b"x"), (b"./a", FILE, b"y")])),
        ("file and directory", ArchiveFormat::TarGz, tar_of(&[(b"a", FILE, b"x"), (b"a/b", FILE, b"y")])),
        ("own", ArchiveFormat::TarGz, tar_of(&[(b".reeve-trash/x", FILE, b"x")])),
        ("bomb", ArchiveFormat::TarGz, tar_bomb(66)),
        ("too many", ArchiveFormat::TarGz, tar_of_too_many()),
        ("zip up", ArchiveFormat::Zip, zip_of(&[("ok", b"x"), ("../canary", b"x")])),
        ("zip absolute", ArchiveFormat::Zip, zip_of(&[("/etc/x", b"x")])),
        ("zip backslash", ArchiveFormat::Zip, zip_of(&[("..\\canary", b"x")])),
        ("zip bomb", ArchiveFormat::Zip, zip_bomb(66)),
    ];
    for (what, format, bytes) in archives {
        assert_eq!(code(unpack(&place, b"into", format, &bytes)), ProblemCode::HostileArchive, "{what}");
        assert_eq!(std::fs::read_dir(place.at("into")).expect("the directory").count(), 0, "{what}");
        place.nothing_left_behind();
    }
    assert_eq!(std::fs::read(place.outer.path().join("canary")).expect("a canary"), b"sings");
}

/// What makes a bomb a bomb is its size, not how it is made.
#[test]
fn what_is_packed_like_a_bomb_and_is_small_is_unpacked() {
    for (format, bytes) in [(ArchiveFormat::TarGz, tar_bomb(2)), (ArchiveFormat::Zip, zip_bomb(2))] {
        let place = Place::new();
        let extracted = unpack(&place, b"into", format, &bytes).expect("unpacked");
        assert_eq!(extracted, Extracted { files: 1, bytes: 2 << 20 }, "{format:?}");
    }
}

#[test]
fn unpacking_replaces_nothing_and_drops_special_bits() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place.write("into/dir/there", "old");
    let clash = tar_of(&[(b"new", FILE, b"x"), (b"dir/there", FILE, b"y")]);
    assert_eq!(code(unpack(&place, b"into", ArchiveFormat::TarGz, &clash)), ProblemCode::AlreadyExists);
    assert!(!place.at("into/new").exists());
    let fits = tar_of(&[(b"new", FILE, b"x"), (b"dir/beside", FILE, b"y")]);
    unpack(&place, b"into", ArchiveFormat::TarGz, &fits).expect("unpacked");
    assert_eq!(place.read(b"into/dir/there").expect("there"), b"old");
    assert_eq!(place.read(b"into/dir/beside").expect("there"), b"y");
    assert_eq!(std::fs::metadata(place.at("into/new")).expect("data").permissions().mode() & 0o7000, 0);
    let damaged = fits.get(..fits.len() / 2).expect("half");
    assert_eq!(code(unpack(&place, b"else", ArchiveFormat::TarGz, damaged)), ProblemCode::BadRequest);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever an archive holds, nothing outside the directory it is unpacked into is made or changed.
    #[test]
    fn no_archive_reaches_outside(
        entries in prop::collection::vec((prop::collection::vec("[a-b]|\\.\\.|\\.|/|canary|\\.reeve-trash", 1..5), 0..5_usize), 1..6),
    ) {
        let place = Place::new();
        place.write("beside", "stays");
        let kinds = [FILE, FILE, tar::EntryType::Directory, tar::EntryType::Symlink, tar::EntryType::Link];
        let entries: Vec<_> = entries.iter().map(|(names, kind)| (names.join("/").into_bytes(), kinds[*kind])).collect();
        let raw: Vec<_> = entries.iter().map(|(name, kind)| (name.as_slice(), *kind, &b"../canary"[..])).collect();
        let _ = unpack(&place, b"into", ArchiveFormat::TarGz, &tar_of(&raw));
        let mut outside: Vec<_> = std::fs::read_dir(place.outer.path()).expect("outside").map(|e| e.expect("one").file_name()).collect();
        outside.sort();
        prop_assert_eq!(outside, ["canary", "workspace"]);
        prop_assert_eq!(std::fs::read(place.outer.path().join("canary")).expect("a canary"), b"sings");
        let mut inside: Vec<_> = std::fs::read_dir(place.at("")).expect("inside").map(|e| e.expect("one").file_name()).collect();
        inside.sort();
        prop_assert_eq!(inside, [".reeve-trash", "beside", "into"]);
        place.nothing_left_behind();
    }
}
