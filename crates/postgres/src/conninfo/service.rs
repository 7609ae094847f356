//! Service files: named sets of connection parameters (`service=`, `PGSERVICE`).
//!
//! As in libpq, the user's file (`PGSERVICEFILE`, else `~/.pg_service.conf`) is looked at before the system's
//! (`PGSYSCONFDIR/pg_service.conf`), and the first that defines the service is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::keywords::{Support, keyword};
use super::{ConninfoError, Surroundings};

/// Longest service file that is read, in bytes.
const SERVICE_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The parameters of a service.
pub(crate) fn lookup(
    name: &str,
    file: Option<&str>,
    around: &Surroundings,
) -> Result<BTreeMap<String, String>, ConninfoError> {
    let user_file = file.map(PathBuf::from).or_else(|| around.in_home(".pg_service.conf"));
    let system_file =
        around.var("PGSYSCONFDIR").map_or_else(|| around.sysconf_dir.clone(), PathBuf::from).join("pg_service.conf");
    for path in user_file.iter().chain([&system_file]) {
        if let Some(text) = read(path)?
            && let Some(found) = section(&text, name, path)?
        {
            return Ok(found);
        }
    }
    Err(ConninfoError::ServiceNotFound { name: name.to_owned() })
}

fn read(path: &Path) -> Result<Option<String>, ConninfoError> {
    let failed = |error: std::io::Error| ConninfoError::ServiceFile {
        path: path.display().to_string(),
        line: 0,
        problem: error.to_string(),
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(about) if about.len() > SERVICE_FILE_BYTES_MAX => {
            return Err(failed(std::io::Error::other("it is longer than 1 MiB")));
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(failed)
}

fn section(text: &str, name: &str, path: &Path) -> Result<Option<BTreeMap<String, String>>, ConninfoError> {
    let mut found: Option<BTreeMap<String, String>> = None;
    for (number, line) in text.lines().enumerate() {
        let problem = |problem: String| ConninfoError::ServiceFile {
            path: path.display().to_string(),
            line: number + 1,
            problem,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            if found.is_some() {
                break;
            }
            if title.0 == name {
                found = Some(BTreeMap::new());
            }
            continue;
        }
        let Some(found) = found.as_mut() else { continue };
        if line.starts_with("ldap") {
            return Err(problem("services looked up in LDAP are not supported".to_owned()));
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(problem("there is no `=` in the line".to_owned()));
        };
        match keyword(key) {
            None => return Err(problem(format!("`{key}` is not a connection parameter"))),
            Some(k) if k.name == "service" || k.name == "servicefile" => {
                return Err(problem("a service cannot name another one".to_owned()));
            }
            Some(k) => {
                if let Support::Refused(why) = k.support {
                    return Err(problem(format!("`{key}` is not supported: {why}")));
                }
                // The first value counts, as in libpq.
                found.entry(k.name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
    }
    Ok(found)
}
