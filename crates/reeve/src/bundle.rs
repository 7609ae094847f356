//! A backup as one file: a tar archive of what was laid out, and back.
//!
//! Whatever is read is hostile until the store has held it against its own list: only the names that a backup has are
//! taken out, as plain files, into a directory of ours.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use reeve_platform::backup::{STORE_PART, WORKSPACES_PART};
use reeve_types::WorkspaceId;

/// Writes everything below a directory, in the order of names, without owners and times of this machine.
pub(crate) fn pack(directory: &Path, into: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(into);
    archive.mode(tar::HeaderMode::Deterministic);
    append(&mut archive, directory, Path::new(""))?;
    archive.into_inner()?.flush()
}

fn append(archive: &mut tar::Builder<impl Write>, directory: &Path, below: &Path) -> io::Result<()> {
    let mut entries = std::fs::read_dir(directory.join(below))?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            append(archive, directory, &name)?;
        } else {
            archive.append_file(&name, &mut File::open(entry.path())?)?;
        }
    }
    Ok(())
}

/// Takes a backup out of its file into a directory that is not there yet.
pub(crate) fn unpack(from: impl Read, directory: &Path) -> io::Result<()> {
    private_directory(directory)?;
    for entry in tar::Archive::new(from).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if !entry.header().entry_type().is_file() || !belongs(&name) {
            return Err(io::Error::other(format!("`{}` is nothing that a backup holds", name.display())));
        }
        let path = directory.join(&name);
        path.parent().map_or(Ok(()), private_directory)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let size = entry.size();
        let copied = io::copy(&mut entry, &mut file)?;
        if copied != size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of a file"));
        }
        file.sync_all()?;
    }
    Ok(())
}

/// Whether a name is one that a backup has: `store/NAME`, `store/staging/NAME`, `workspaces/ID.tar`.
fn belongs(name: &Path) -> bool {
    let parts: Option<Vec<&str>> = name
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    match parts.as_deref() {
        Some([part, _] | [part, "staging", _]) if *part == STORE_PART => true,
        Some([part, file]) if *part == WORKSPACES_PART => {
            file.strip_suffix(".tar").is_some_and(|id| id.parse::<WorkspaceId>().is_ok())
        }
        _ => false,
    }
}

/// The archives of workspaces' files in a backup that was taken out.
pub(crate) fn archives(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(directory.join(WORKSPACES_PART)) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_backup_holds_is_taken_out() {
        for good in ["store/reeve.db", "store/staging/abc", "workspaces/wsp_01h455vb4pex5vsknk084sn02q.tar"] {
            assert!(belongs(Path::new(good)), "{good}");
        }
        for bad in
            ["/store/a", "store/../a", "store", "a", "workspaces/x.tar", "store/a/b", "workspaces/../store/a.tar"]
        {
            assert!(!belongs(Path::new(bad)), "{bad}");
        }
    }

    #[test]
    fn an_archive_that_is_cut_or_holds_links_is_refused() {
        let kept = tempfile::tempdir().expect("a directory");
        private_directory(&kept.path().join("from/store")).expect("a directory");
        std::fs::write(kept.path().join("from/store/reeve.db"), vec![7; 5000]).expect("a file");
        let mut packed = Vec::new();
        pack(&kept.path().join("from"), &mut packed).expect("packed");
        unpack(packed.as_slice(), &kept.path().join("whole")).expect("whole");
        assert_eq!(std::fs::read(kept.path().join("whole/store/reeve.db")).expect("a file"), vec![7; 5000]);
        let cut = packed.get(..3000).expect("longer");
        assert!(unpack(cut, &kept.path().join("cut")).is_err());

        let mut linked = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        linked.append_link(&mut header, "store/reeve.db", "/etc/passwd").expect("a link");
        let linked = linked.into_inner().expect("an archive");
        let refused = unpack(linked.as_slice(), &kept.path().join("linked")).expect_err("refused");
        assert!(refused.to_string().contains("nothing that a backup holds"), "{refused}");
    }
}
