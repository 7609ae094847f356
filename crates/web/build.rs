//! Writes the table of the built page's files, so that they are part of the program. Nothing is downloaded and no node is
//! run here: what is in `dist` is what is embedded, and without it the program says how to build it.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=REEVE_REQUIRE_UI");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=dist");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let dist = root.join("dist");
    let mut files = Vec::new();
    if dist.is_dir() {
        collect(&dist, &dist, &mut files)?;
    }
    files.sort();
    let is_built = files.iter().any(|path| path == "index.html");
    if !is_built && env::var_os("REEVE_REQUIRE_UI").is_some_and(|value| value == "1") {
        return Err("crates/web/dist/index.html is missing and REEVE_REQUIRE_UI=1 demands it: run scripts/web".into());
    }
    let mut table = String::from("static FILES: &[File] = &[\n");
    if is_built {
        for path in files.iter().filter(|path| is_served(path)) {
            println!("cargo::rerun-if-changed=dist/{path}");
            write_entry(&mut table, &files, path)?;
        }
    }
    table.push_str("];\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("files.rs"), table)?;
    Ok(())
}

/// Compressed variants belong to their originals; the freshness mark is for a test.
fn is_served(path: &str) -> bool {
    !path.ends_with(".br") && !path.ends_with(".gz") && path != "SOURCE.sha256"
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("cargo::rerun-if-changed={}", path.display());
            collect(root, &path, found)?;
        } else {
            let name = path.strip_prefix(root)?.to_str().ok_or("a file name of the page is no UTF-8")?;
            found.push(name.replace('\\', "/"));
        }
    }
    Ok(())
}

fn write_entry(table: &mut String, files: &[String], path: &str) -> Result<(), Box<dyn Error>> {
    let bytes =
        |path: &str| format!("include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?}))", format!("/dist/{path}"));
    let variant = |ending: &str| {
        let packed = format!("{path}.{ending}");
        if files.contains(&packed) { format!("Some({})", bytes(&packed)) } else { "None".to_owned() }
    };
    writeln!(
        table,
        "    File {{ path: {path:?}, content_type: {:?}, plain: {}, br: {}, gzip: {} }},",
        content_type(path),
        bytes(path),
        variant("br"),
        variant("gz"),
    )?;
    Ok(())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
