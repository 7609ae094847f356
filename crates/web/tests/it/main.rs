//! The committed page fits its sources, and holds to the policy that it is served with.
#![expect(clippy::expect_used, reason = "a test that cannot read its own repository has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// What the page is made from, below `web/`. `web/finish.mjs` has the same list.
const SOURCES: [&str; 9] = [
    "finish.mjs",
    "index.html",
    "package-lock.json",
    "package.json",
    "public",
    "src",
    "svelte.config.js",
    "tsconfig.json",
    "vite.config.ts",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory of the page's sources") {
            collect(&entry.expect("an entry").path(), found);
        }
    } else if path.exists() {
        found.push(path.to_owned());
    }
}

/// SHA-256 over each file in the order of their paths: path, NUL, length in decimal, NUL, content.
fn source_hash() -> String {
    let web = root().join("web");
    let mut files = Vec::new();
    SOURCES.iter().for_each(|name| collect(&web.join(name), &mut files));
    let mut named: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|path| (path.strip_prefix(&web).expect("below web").to_str().expect("a name in UTF-8").to_owned(), path))
        .collect();
    named.sort();
    let mut hash = Sha256::new();
    for (name, path) in named {
        let content = fs::read(&path).expect("a source of the page");
        hash.update(format!("{name}\0{}\0", content.len()));
        hash.update(content);
    }
    hex::encode(hash.finalize())
}

#[test]
fn the_committed_page_was_built_from_these_sources() {
    let mark = root().join("crates/web/dist/SOURCE.sha256");
    let built = fs::read_to_string(mark).unwrap_or_default();
    assert_eq!(
        built.trim(),
        source_hash(),
        "web/ has changed since the page was built, or the page was never built: run scripts/web and commit crates/web/dist"
    );
}

#[test]
fn everything_that_the_page_names_is_there() {
    let page = reeve_web::index("");
    let text = String::from_utf8_lossy(page.bytes);
    let named: Vec<&str> =
        text.split('"').filter(|part| part.starts_with('/') && part.len() > 1 && !part.starts_with("//")).collect();
    assert!(named.iter().any(|path| path.ends_with(".js")), "the page names its script: {named:?}");
    for path in named {
        assert!(reeve_web::asset(path, "").is_some(), "{path} is named and not there");
    }
}

#[test]
fn nothing_in_the_page_breaks_its_policy() {
    let text = String::from_utf8_lossy(reeve_web::index("").bytes).into_owned();
    assert!(!text.contains("<style"), "styles are files");
    assert!(!text.contains(" style="), "styles are files");
    assert!(!text.contains("http://") && !text.contains("https://"), "everything comes from this server");
    for script in text.split("<script").skip(1) {
        let tag = script.split('>').next().unwrap_or_default();
        assert!(tag.contains("src=\"/"), "scripts are files: <script{tag}>");
    }
}

#[test]
fn large_files_are_compressed_and_kept_for_ever() {
    for path in reeve_web::paths().filter(|path| path.starts_with("assets/")) {
        let plain = reeve_web::asset(path, "").expect("a listed file");
        assert!(plain.immutable, "{path}");
        if plain.bytes.len() > 4096 && (path.ends_with(".js") || path.ends_with(".css")) {
            for encoding in ["br", "gzip"] {
                let packed = reeve_web::asset(path, encoding).expect("a listed file");
                assert_eq!(packed.encoding, Some(encoding), "{path}");
                assert!(packed.bytes.len() < plain.bytes.len(), "{path}");
            }
        }
    }
}
