//! Reading manifests and seed files. A mistake is told with file and line.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use reeve_types::WorkspaceLimits;
use reeve_types::workspace::{DriverKind, Egress};
use serde::Deserialize;
use toml::Spanned;

use super::{FILES, MANIFEST, SEED_BYTES_MAX, SEED_FILES_MAX, SeedFile, Template, TemplateError};
use crate::egress::check_list;

/// What is typed in `template.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: Spanned<String>,
    title: Spanned<String>,
    #[serde(default)]
    description: String,
    #[serde(default = "every_driver")]
    drivers: Vec<DriverKind>,
    #[serde(default)]
    languages: Vec<String>,
    default_command: Option<String>,
    #[serde(default)]
    ports: Vec<u16>,
    limits: Option<WorkspaceLimits>,
    egress: Option<Spanned<Egress>>,
    #[serde(default)]
    namespace: Namespace,
    docker: Option<Docker>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Namespace {
    programs: Vec<String>,
    env: BTreeMap<Spanned<String>, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Docker {
    image: String,
}

fn every_driver() -> Vec<DriverKind> {
    DriverKind::ALL.to_vec()
}

/// Turns a manifest and its files into a template.
pub(super) fn read(file: &Path, text: &str, files: Vec<SeedFile>) -> Result<Template, TemplateError> {
    let wrong = |at: usize, reason: String| TemplateError::Manifest {
        file: file.to_owned(),
        line: 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count(),
        reason,
    };
    let manifest: Manifest = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        wrong(at, error.message().to_owned())
    })?;
    let name = manifest.name.get_ref();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let reason = format!("`{name}` is no name of a template: use 1 to 64 lower-case letters, digits and `-`");
        return Err(wrong(manifest.name.span().start, reason));
    }
    if manifest.title.get_ref().trim().is_empty() {
        return Err(wrong(manifest.title.span().start, "the title is empty".to_owned()));
    }
    for key in manifest.namespace.env.keys() {
        let word = key.get_ref();
        let fine = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fine || word.starts_with("REEVE_") || word.starts_with("LD_") {
            return Err(wrong(key.span().start, format!("`{word}` cannot be set by a template")));
        }
    }
    let egress = match manifest.egress {
        None => Egress::None,
        Some(egress) => {
            check_hosts(egress.get_ref()).map_err(|reason| wrong(egress.span().start, reason))?;
            egress.into_inner()
        }
    };
    Ok(Template {
        name: name.clone(),
        title: manifest.title.into_inner(),
        description: manifest.description,
        drivers: manifest.drivers,
        languages: manifest.languages,
        default_command: manifest.default_command,
        ports: manifest.ports,
        limits: manifest.limits,
        egress,
        programs: manifest.namespace.programs,
        env: manifest.namespace.env.into_iter().map(|(key, value)| (key.into_inner(), value)).collect(),
        image: manifest.docker.map(|docker| docker.image),
        files,
    })
}

/// Refuses an allow-list that no workspace could be made with.
fn check_hosts(egress: &Egress) -> Result<(), String> {
    if *egress == (Egress::Allow { hosts: Vec::new() }) {
        return Err("`egress.hosts` is empty; name hosts, or leave `egress` out".to_owned());
    }
    check_list(egress).map_err(|error| error.message)
}

/// Reads every template below a directory.
pub(super) fn read_all(directory: &Path) -> Result<Vec<Template>, TemplateError> {
    let mut templates = Vec::new();
    for entry in listed(directory)? {
        let file = entry.join(MANIFEST);
        if entry.is_dir() && file.exists() {
            let text = std::fs::read_to_string(&file).map_err(|source| unreadable(&file, source))?;
            let mut files = Vec::new();
            if entry.join(FILES).is_dir() {
                let mut left = SEED_BYTES_MAX;
                collect(&entry.join(FILES), Path::new(""), &mut files, &mut left)?;
            }
            templates.push(read(&file, &text, files)?);
        }
    }
    Ok(templates)
}

fn collect(root: &Path, below: &Path, into: &mut Vec<SeedFile>, left: &mut u64) -> Result<(), TemplateError> {
    for path in listed(&root.join(below))? {
        let Some(name) = path.file_name() else { continue };
        let relative = below.join(name);
        let meta = path.symlink_metadata().map_err(|source| unreadable(&path, source))?;
        if meta.is_dir() {
            collect(root, &relative, into, left)?;
        } else if meta.is_file() {
            *left =
                left.checked_sub(meta.len()).ok_or_else(|| too_much(&path, "a template may hold 64 MiB of files"))?;
            if into.len() >= SEED_FILES_MAX {
                return Err(too_much(&path, "a template may hold 2,000 files"));
            }
            let content = std::fs::read(&path).map_err(|source| unreadable(&path, source))?;
            into.push(SeedFile { path: relative, content, executable: meta.permissions().mode() & 0o111 != 0 });
        } else {
            return Err(too_much(&path, "a template holds plain files and directories only"));
        }
    }
    Ok(())
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>, TemplateError> {
    let entries = std::fs::read_dir(directory).map_err(|source| unreadable(directory, source))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| unreadable(directory, source))?;
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path, source: std::io::Error) -> TemplateError {
    TemplateError::Read { path: path.to_owned(), source }
}

fn too_much(path: &Path, reason: &str) -> TemplateError {
    TemplateError::Files { path: path.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        read(Path::new("own/template.toml"), text, Vec::new()).expect_err("a mistake").to_string()
    }

    #[test]
    fn a_mistake_is_told_with_file_and_line() {
        let unknown = refused("name = \"a\"\ntitle = \"A\"\ntitel = \"B\"\n");
        assert!(unknown.starts_with("own/template.toml:3: unknown field `titel`"), "{unknown}");
        let named = refused("\nname = \"Not Good\"\ntitle = \"A\"\n");
        assert!(named.starts_with("own/template.toml:2: `Not Good` is no name"), "{named}");
        let env = refused("name = \"a\"\ntitle = \"A\"\n[namespace.env]\nGOOD = \"1\"\nLD_PRELOAD = \"x\"\n");
        assert!(env.starts_with("own/template.toml:5: `LD_PRELOAD` cannot be set"), "{env}");
        let driver = refused("name = \"a\"\ntitle = \"A\"\n\ndrivers = [\"vm\"]\n");
        assert!(driver.starts_with("own/template.toml:4: "), "{driver}");
    }

    #[test]
    fn what_its_workspaces_reach_is_read_and_checked() {
        let head = "name = \"a\"\ntitle = \"A\"\n";
        let reads = |line: &str| read(Path::new("template.toml"), &format!("{head}{line}\n"), Vec::new());
        assert_eq!(reads("").expect("a template").egress, Egress::None);
        assert_eq!(reads("egress = { mode = \"public\" }").expect("a template").egress, Egress::Public);
        let hosts = vec!["pypi.org".to_owned(), "*.example.org:8443".to_owned()];
        let allowed = reads("egress = { mode = \"allow\", hosts = [\"pypi.org\", \"*.example.org:8443\"] }");
        assert_eq!(allowed.expect("a template").egress, Egress::Allow { hosts });
        for (line, words) in [
            ("egress = { mode = \"allow\", hosts = [\"https://pypi.org/\"] }", "is no host of an allow-list"),
            ("egress = { mode = \"allow\", hosts = [] }", "`egress.hosts` is empty"),
            ("egress = { mode = \"everything\" }", "unknown variant `everything`"),
            ("egress = { mode = \"public\", hosts = [\"pypi.org\"] }", "unknown field `hosts`"),
        ] {
            let told = refused(&format!("{head}{line}\n"));
            assert!(told.starts_with("own/template.toml:3: ") && told.contains(words), "{line}: {told}");
        }
    }

    #[test]
    fn limits_are_whole_when_only_one_is_named() {
        let text = "name = \"a\"\ntitle = \"A\"\n[limits]\npids = 64\n";
        let template = read(Path::new("template.toml"), text, Vec::new()).expect("a template");
        let limits = template.limits.expect("limits");
        assert_eq!((limits.pids, limits.memory_bytes), (64, WorkspaceLimits::default().memory_bytes));
    }
}
