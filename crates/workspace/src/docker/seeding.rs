//! The files that a workspace begins with, as a tar for the engine.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use reeve_types::WorkspaceError;
use tar::{Builder, EntryType, Header};

use super::failure::cannot;
use crate::templates::SeedFile;

/// Packs seed files for `/workspace`, owned by the user inside. Nothing when there are none.
pub(super) fn pack(files: &[SeedFile], owner: (u32, u32)) -> Result<Option<Vec<u8>>, WorkspaceError> {
    if files.is_empty() {
        return Ok(None);
    }
    let packed = write(files, owner).map_err(|error| cannot("pack the files of the template", &error))?;
    Ok(Some(packed))
}

fn write(files: &[SeedFile], owner: (u32, u32)) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for directory in directories(files) {
        let mut header = header(EntryType::Directory, 0o755, 0, owner);
        tar.append_data(&mut header, directory, io::empty())?;
    }
    for file in files {
        let mode = if file.executable { 0o755 } else { 0o644 };
        let mut header = header(EntryType::Regular, mode, file.content.len() as u64, owner);
        tar.append_data(&mut header, &file.path, file.content.as_slice())?;
    }
    tar.into_inner()
}

/// Every directory that a file is in, parents first.
fn directories(files: &[SeedFile]) -> BTreeSet<PathBuf> {
    let above = |file: &SeedFile| file.path.ancestors().skip(1).map(Path::to_path_buf).collect::<Vec<_>>();
    files.iter().flat_map(above).filter(|path| !path.as_os_str().is_empty()).collect()
}

fn header(kind: EntryType, mode: u32, size: u64, (uid, gid): (u32, u32)) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them_and_all_belong_to_the_user_inside() {
        let file = |path: &str, executable| SeedFile { path: path.into(), content: b"x".to_vec(), executable };
        let packed = pack(&[file("src/bin/a.rs", false), file("run", true)], (1000, 1000)).expect("packed");
        let packed = packed.expect("something");
        let mut archive = tar::Archive::new(packed.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let header = entry.header();
                assert_eq!((header.uid().expect("a user"), header.gid().expect("a group")), (1000, 1000));
                let path = entry.path().expect("a path").display().to_string();
                format!("{path} {:o}", header.mode().expect("a mode"))
            })
            .collect();
        assert_eq!(entries, ["src 755", "src/bin 755", "src/bin/a.rs 644", "run 755"]);
    }
}
