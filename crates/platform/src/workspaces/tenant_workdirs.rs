//! Which directories of the host each tenant may work in: `tenantWorkdirs`, as the guide prints it, in YAML or JSON.
//!
//! Only what is written is checked here. Whether a directory lies where it must is found out when it is opened, by the
//! handle that is mounted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use reeve_types::TenantId;
use reeve_types::limits::CONFIG_FILE_BYTES_MAX;
use reeve_types::workspace::Confines;
use serde::Deserialize;

use super::checked_directory;

/// Most `allowedPaths` of one tenant.
const ALLOWED_MAX: usize = 200;

/// The file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{place}: {reason}")]
pub struct BadWorkdirs {
    /// Which file.
    pub file: String,
    /// `:line:column`, when known.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

/// Where the directories of each tenant lie. A tenant that is not named is not restricted.
#[derive(Debug, Clone, Default)]
pub struct TenantWorkdirs(Arc<BTreeMap<TenantId, Confines>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    tenant_workdirs: BTreeMap<TenantId, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    root: Root,
    #[serde(default)]
    allowed_paths: Option<Allowed>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Root(String);

impl TryFrom<String> for Root {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bad = |_| format!("`root` is `{}`: it must be an absolute path without `..`", shown(&text));
        checked_directory(&text).map(Self).map_err(bad)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Allowed(Vec<String>);

impl TryFrom<Vec<String>> for Allowed {
    type Error = String;
    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        if texts.is_empty() || texts.len() > ALLOWED_MAX {
            return Err(format!(
                "`allowedPaths` holds {}: name 1 to {ALLOWED_MAX} directories, or leave it out to allow all of `root`",
                texts.len()
            ));
        }
        texts.iter().map(|text| below(text)).collect::<Result<_, _>>().map(Self)
    }
}

/// A path in the root, written in one way.
fn below(text: &str) -> Result<String, String> {
    let absolute = checked_directory(&format!("/{text}")).ok();
    let path = absolute.as_deref().and_then(|path| path.strip_prefix('/')).filter(|path| !path.is_empty());
    match path {
        Some(path) if !text.starts_with('/') => Ok(path.to_owned()),
        _ => Err(format!("`{}` in `allowedPaths` must be a path relative to `root`, without `..`", shown(text))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect::<String>().escape_debug().to_string()
}

impl TenantWorkdirs {
    /// Understands a text: JSON when the file is called so, YAML otherwise.
    ///
    /// # Errors
    ///
    /// What is wrong, and where.
    pub fn parse(file: &str, text: &str) -> Result<Self, BadWorkdirs> {
        let bad = |place: String, reason: String| BadWorkdirs { file: file.to_owned(), place, reason };
        if text.len() > CONFIG_FILE_BYTES_MAX {
            return Err(bad(String::new(), format!("it is larger than {CONFIG_FILE_BYTES_MAX} bytes")));
        }
        let written: Written = if Path::new(file).extension().is_some_and(|end| end.eq_ignore_ascii_case("json")) {
            serde_json::from_str(text)
                .map_err(|error| bad(format!(":{}:{}", error.line(), error.column()), without_place(&error)))?
        } else {
            serde_saphyr::from_str(text).map_err(|error| {
                let place = error.location().map_or_else(String::new, |at| format!(":{}:{}", at.line(), at.column()));
                bad(place, error.without_snippet().to_string())
            })?
        };
        let confines = |entry: Entry| Confines {
            root: entry.root.0,
            below: entry.allowed_paths.map(|allowed| allowed.0).unwrap_or_default(),
        };
        let all = written.tenant_workdirs.into_iter().map(|(tenant, entry)| (tenant, confines(entry)));
        Ok(Self(Arc::new(all.collect())))
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or what is in it cannot be used.
    pub fn load(path: &Path) -> Result<Self, BadWorkdirs> {
        use std::io::Read as _;
        let file = path.display().to_string();
        let unread = |error: std::io::Error| BadWorkdirs {
            file: file.clone(),
            place: String::new(),
            reason: format!("it cannot be read: {error}"),
        };
        let mut text = String::new();
        let opened = std::fs::File::open(path).map_err(unread)?;
        opened.take(CONFIG_FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unread)?;
        Self::parse(&file, &text)
    }

    /// Where the directories of a tenant lie; anywhere when that is nowhere said.
    pub fn confines(&self, tenant: &TenantId) -> Option<Confines> {
        self.0.get(tenant).cloned()
    }

    /// Whether no tenant is restricted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The place is told apart from the words.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "\
tenantWorkdirs:
  tenant-a:
    root: /tenants/tenant-a
    allowedPaths:
      - projects
      - workspace
  tenant-b:
    root: /tenants/tenant-b
";
    const JSON: &str = r#"{
  "tenantWorkdirs": {
    "tenant-a": {
      "root": "/tenants/tenant-a",
      "allowedPaths": ["projects", "workspace"]
    },
    "tenant-b": {
      "root": "/tenants/tenant-b"
    }
  }
}"#;

    #[test]
    fn both_forms_of_the_guide_say_the_same() {
        for (file, text) in [("tenants.yaml", YAML), ("tenants.json", JSON), ("tenants.yml", JSON)] {
            let read = TenantWorkdirs::parse(file, text).unwrap();
            let of = |tenant: &str| read.confines(&tenant.parse().unwrap());
            let a = of("tenant-a").unwrap();
            assert_eq!(
                (a.root.as_str(), a.below),
                ("/tenants/tenant-a", vec!["projects".to_owned(), "workspace".to_owned()])
            );
            assert_eq!(of("tenant-b").unwrap().below, Vec::<String>::new());
            assert_eq!(of("tenant-c"), None, "who is not named is not restricted");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let yaml = |entry: &str| format!("tenantWorkdirs:\n  tenant-a:\n{entry}");
        let table = [
            (yaml("    root: tenants/a\n"), 3, "must be an absolute path without `..`"),
            (yaml("    root: /tenants/../etc\n"), 3, "must be an absolute path without `..`"),
            (yaml("    root: /t\n    allowedPaths: [../b]\n"), 4, "relative to `root`, without `..`"),
            (yaml("    root: /t\n    allowedPaths: [/b]\n"), 4, "relative to `root`, without `..`"),
            (yaml("    root: /t\n    allowedPaths: ['']\n"), 4, "relative to `root`, without `..`"),
            (yaml("    root: /t\n    allowedPaths: []\n"), 4, "leave it out"),
            (yaml("    root: /t\n    allowed: [b]\n"), 4, "unknown field `allowed`"),
            (yaml("    allowedPaths: [b]\n"), 3, "missing field `root`"),
            ("tenantWorkdirs:\n  Tenant_A:\n    root: /t\n".to_owned(), 2, "`Tenant_A` is not a tenant"),
            ("tenantworkdirs: {}\n".to_owned(), 1, "unknown field `tenantworkdirs`"),
        ];
        for (text, line, words) in table {
            let error = TenantWorkdirs::parse("tenants.yaml", &text).unwrap_err();
            assert!(error.reason.contains(words), "{text}: {error}");
            assert!(error.place.starts_with(&format!(":{line}:")), "{text}: {error}");
        }
        let error = TenantWorkdirs::parse("t.json", "{\"tenantWorkdirs\": {\"a\": {\n\"root\": \"x\"}}}").unwrap_err();
        assert!(error.to_string().starts_with("t.json:2:"), "{error}");
        assert!(!error.to_string().contains(" at line "), "the place is said once: {error}");
    }
}
