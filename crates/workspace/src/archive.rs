//! How the files of a workspace travel: one tar stream, whichever driver packs and unpacks it.
//!
//! At its top are the files of `/workspace` by their names, so that any `tar` gets a project out of it. The home
//! directory is below [`HOME`], without its caches. A stream without it is one of files alone, as earlier versions wrote
//! them: the home directory begins empty then.

/// The home directory in a stream.
pub(crate) const HOME: &str = ".reeve-home";
/// What a file of that name at the top of `/workspace` is called in a stream, with a dash more for each name that is
/// taken: whoever unpacks an export in a workspace has one, and it is not lost.
pub(crate) const KEPT: &str = ".reeve-home-kept";
/// What is left out of the home directory: programs fill it again by themselves.
pub(crate) const CACHE: &str = ".cache";
/// How extended attributes are named in a stream.
pub(crate) const XATTR_KEY: &str = "SCHILY.xattr.";
