//! The web page as bytes: what `web/` builds, embedded so that the program needs no files beside it.
//!
//! `scripts/web` builds the page into `dist`, which is committed; `build.rs` makes a table of it. Building Reeve needs no
//! node, and a Reeve that was built without the page serves one that says how to build it.

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// One file of the page, with its compressed variants where they are smaller.
struct File {
    path: &'static str,
    content_type: &'static str,
    plain: &'static [u8],
    br: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

/// What is sent for one file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// The body, compressed as `encoding` says.
    pub bytes: &'static [u8],
    /// For the header `Content-Type`.
    pub content_type: &'static str,
    /// For the header `Content-Encoding`: `br` or `gzip`. The answer varies by `Accept-Encoding`.
    pub encoding: Option<&'static str>,
    /// Whether its name changes with its content, so that it can be kept for ever.
    pub immutable: bool,
}

/// What is shown where the page was left out of the build.
const MISSING: &str = "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Reeve</title></head>\n<body>\n\
<h1>Reeve runs, without its web page</h1>\n\
<p>This program was built without the page. Run <code>scripts/web</code> in the source tree, then build Reeve again.</p>\n\
<p>The command line does everything the page does: see <code>reeve --help</code>.</p>\n\
</body>\n</html>\n";

/// Whether the page is part of this program.
pub fn is_built() -> bool {
    find("index.html").is_some()
}

/// A file of the page by its path below the root, with or without the leading `/`, in the best encoding that the header
/// `Accept-Encoding` allows. Nothing when there is no such file.
pub fn asset(path: &str, accept_encoding: &str) -> Option<Asset> {
    find(path.strip_prefix('/').unwrap_or(path)).map(|file| file.encoded(accept_encoding))
}

/// The page itself. Never to be kept by a browser: it names the files of this build.
pub fn index(accept_encoding: &str) -> Asset {
    asset("index.html", accept_encoding).unwrap_or(Asset {
        bytes: MISSING.as_bytes(),
        content_type: "text/html; charset=utf-8",
        encoding: None,
        immutable: false,
    })
}

/// The paths of all files of the page, below the root.
pub fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.path)
}

fn find(path: &str) -> Option<&'static File> {
    FILES.binary_search_by(|file| file.path.cmp(path)).ok().and_then(|at| FILES.get(at))
}

impl File {
    fn encoded(&self, accept_encoding: &str) -> Asset {
        let packed = [("br", self.br), ("gzip", self.gzip)]
            .into_iter()
            .find_map(|(name, bytes)| bytes.filter(|_| accepts(accept_encoding, name)).map(|bytes| (name, bytes)));
        let (encoding, bytes) = packed.map_or((None, self.plain), |(name, bytes)| (Some(name), bytes));
        Asset { bytes, content_type: self.content_type, encoding, immutable: self.path.starts_with("assets/") }
    }
}

/// Whether the header names the encoding and does not weigh it with zero.
fn accepts(header: &str, encoding: &str) -> bool {
    header.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        is_named && !parts.any(is_zero_weight)
    })
}

fn is_zero_weight(parameter: &str) -> bool {
    let weight = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.and_then(|(_, value)| value.trim().parse::<f32>().ok()).is_some_and(|value| value <= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_used_only_where_it_is_wanted() {
        assert!(accepts("gzip, deflate, br", "br"));
        assert!(accepts("GZIP;q=0.5", "gzip"));
        assert!(!accepts("br;q=0, gzip", "br"));
        assert!(!accepts("br; q=0.000", "br"));
        assert!(!accepts("", "gzip"));
        assert!(!accepts("brotli", "br"));
    }

    #[test]
    fn a_file_has_one_body_for_each_encoding() {
        let file =
            File { path: "assets/a.js", content_type: "text/javascript", plain: b"plain", br: Some(b"br"), gzip: None };
        let sent = |header| {
            let asset = file.encoded(header);
            (asset.encoding, asset.bytes, asset.immutable)
        };
        assert_eq!(sent("gzip, br"), (Some("br"), b"br".as_slice(), true));
        assert_eq!(sent("gzip"), (None, b"plain".as_slice(), true));
    }

    #[test]
    fn there_is_always_something_to_show() {
        let page = index("");
        assert!(page.content_type.starts_with("text/html"));
        assert!(!page.immutable);
        assert!(String::from_utf8_lossy(page.bytes).contains("Reeve"));
    }

    #[test]
    fn paths_lead_nowhere_but_into_the_table() {
        for path in ["", "/", "../Cargo.toml", "assets", "assets/", "SOURCE.sha256", "index.html.br"] {
            assert_eq!(asset(path, "br"), None, "{path:?}");
        }
    }
}
