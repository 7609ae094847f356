//! The templates that come with the program, from `templates/` of the source tree.

use std::path::{Path, PathBuf};

use super::{SeedFile, Template, TemplateError, manifest};

struct Embedded {
    file: &'static str,
    manifest: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

macro_rules! embedded {
    ($name:literal: $($file:literal),*) => {
        Embedded {
            file: concat!("templates/", $name, "/template.toml"),
            manifest: include_str!(concat!("../../../../templates/", $name, "/template.toml")),
            files: &[$(($file, include_bytes!(concat!("../../../../templates/", $name, "/files/", $file)))),*],
        }
    };
}

const EMBEDDED: [Embedded; 4] = [
    embedded!("base": "README.md"),
    embedded!("python": "README.md", "app.py"),
    embedded!("node": "README.md", "server.js", "package.json"),
    embedded!("rust": "README.md", "Cargo.toml", "src/main.rs"),
];

pub(super) fn templates() -> Result<Vec<Template>, TemplateError> {
    EMBEDDED.iter().map(template).collect()
}

fn template(embedded: &Embedded) -> Result<Template, TemplateError> {
    let seed = |(path, content): &(&str, &[u8])| SeedFile {
        path: PathBuf::from(path),
        content: content.to_vec(),
        executable: false,
    };
    manifest::read(Path::new(embedded.file), embedded.manifest, embedded.files.iter().map(seed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_templates_are_whole() {
        let all = templates().expect("good manifests");
        let names: Vec<_> = all.iter().map(|template| template.name.as_str()).collect();
        assert_eq!(names, ["base", "python", "node", "rust"]);
        for template in all {
            assert!(!template.files.is_empty() && !template.description.is_empty(), "{}", template.name);
        }
    }

    #[test]
    fn nothing_in_the_directories_is_forgotten() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
        let on_disk = manifest::read_all(&directory).expect("good manifests");
        for found in on_disk {
            let built_in =
                templates().expect("good manifests").into_iter().find(|template| template.name == found.name);
            let mut built_in = built_in.unwrap_or_else(|| panic!("{} is not built in", found.name));
            built_in.files.sort_by(|a, b| a.path.cmp(&b.path));
            let mut found = found;
            found.files.sort_by(|a, b| a.path.cmp(&b.path));
            assert_eq!(built_in, found);
        }
    }
}
