//! Files: listing and searching.
#![expect(clippy::expect_used, reason = "a test that cannot go on says so")]

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use reeve_types::ProblemCode;
use reeve_types::workspace::files::{SearchEvent, SearchKind, SearchQuery, TreeQuery};

use crate::files::{Place, code, path};

fn listed(place: &Place, mut query: TreeQuery) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let page = place.files.tree(&query).expect("a page");
        assert!(page.entries.len() <= query.limit as usize);
        names.extend(page.entries.iter().map(|entry| entry.path.to_str().unwrap_or("?").to_owned()));
        match page.next_cursor {
            Some(next) => query.cursor = Some(next),
            None => return names,
        }
    }
}

#[test]
fn directories_come_first_then_names_without_regard_to_case_on_pages_of_any_size() {
    let place = Place::new();
    for name in ["b.txt", "A.txt", "c/z", "c/Y/deep", "c/x", "B/1", "node_modules/m/index.js", ".gitignore"] {
        place.write(name, "");
    }
    let whole = ["B", "B/1", "c", "c/Y", "c/Y/deep", "c/x", "c/z", "node_modules", ".gitignore", "A.txt", "b.txt"];
    for limit in 1..=12 {
        assert_eq!(listed(&place, TreeQuery { depth: 10, limit, ..TreeQuery::default() }), whole, "limit {limit}");
    }
    assert_eq!(listed(&place, TreeQuery { path: path(b"c"), ..TreeQuery::default() }), ["c/Y", "c/x", "c/z"]);
    let page = place.files.tree(&TreeQuery::default()).expect("a page");
    let directories: Vec<_> = page.entries.iter().map(|e| (e.name.as_str(), e.ignored, e.has_children)).collect();
    assert_eq!(
        directories[..3],
        [("B", false, Some(true)), ("c", false, Some(true)), ("node_modules", true, Some(true))]
    );
    let wrong = TreeQuery { cursor: Some("x".into()), ..TreeQuery::default() };
    assert_eq!(code(place.files.tree(&wrong)), ProblemCode::BadRequest);
}

#[test]
fn rules_of_every_directory_count_and_the_nearest_decides() {
    let place = Place::new();
    place.write(".gitignore", "*.log\n/out\n");
    place.write("sub/.ignore", "!keep.log\n");
    for name in ["a.log", "out/x", "sub/keep.log", "sub/b.log", "sub/out/y", "main.rs"] {
        place.write(name, "word");
    }
    let query = TreeQuery { depth: 10, ignored: false, ..TreeQuery::default() };
    let seen = ["sub", "sub/out", "sub/out/y", "sub/.ignore", "sub/keep.log", ".gitignore", "main.rs"];
    assert_eq!(listed(&place, query), seen);
    assert!(place.files.stat(&path(b"a.log")).expect("an entry").ignored);
    assert!(place.files.stat(&path(b"out/x")).expect("an entry").ignored);
}

#[test]
fn a_hundred_thousand_names_are_paged_quickly() {
    let place = Place::in_memory();
    std::fs::create_dir(place.at("many")).expect("a directory");
    for number in 0..100_000 {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.at(&format!("many/f{number:06}")),
            rustix::fs::FileType::RegularFile,
            0o644.into(),
            0,
        )
        .expect("a file");
    }
    let begun = Instant::now();
    let query = TreeQuery { path: path(b"many"), limit: 1000, ..TreeQuery::default() };
    let page = place.files.tree(&query).expect("a page");
    let took = begun.elapsed();
    println!("first 1,000 of 100,000 names in {took:?}");
    assert_eq!(page.entries.len(), 1000);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let next = TreeQuery { cursor: page.next_cursor, ..query };
    let next = place.files.tree(&next).expect("the next page");
    assert_eq!(next.entries.first().map(|entry| entry.name.as_str()), Some("f001000"));
}

fn query(text: &str) -> SearchQuery {
    serde_json::from_value(serde_json::json!({ "text": text })).expect("a query")
}

fn found(place: &Place, query: &SearchQuery) -> Vec<String> {
    let mut told = Vec::new();
    let searched = place.files.search(query, &mut |event| {
        told.push(match event {
            SearchEvent::Match { path, line, text, spans, column } => {
                format!("{}:{line}:{column} {text} {spans:?}", path.to_str().unwrap_or("?"))
            }
            SearchEvent::File { entry } => entry.path.to_str().unwrap_or("?").to_owned(),
            SearchEvent::Done { files, matches, truncated } => format!("done {files} {matches} {truncated}"),
        });
        ControlFlow::Continue(())
    });
    searched.expect("a search");
    told
}

#[test]
fn contents_are_found_with_offsets_as_editors_count() {
    let place = Place::new();
    place.write("a.txt", "nothing\r\n😀 Word word\r\n");
    place.write("b.rs", "sword\n");
    place.write("bin", b"word\0word");
    place.write("node_modules/x.js", "word");
    place.write(".gitignore", "secret\n");
    place.write("secret", "word");
    std::os::unix::fs::symlink("a.txt", place.at("link")).expect("a link");
    let a = "a.txt:2:4 😀 Word word [(3, 7), (8, 12)]";
    assert_eq!(found(&place, &query("word")), [a, "b.rs:1:2 sword [(1, 5)]", "done 4 2 false"]);
    assert_eq!(found(&place, &SearchQuery { whole_word: true, ..query("word") })[0], a);
    let exact = SearchQuery { case_sensitive: true, include: vec!["*.txt".into()], ..query("word") };
    assert_eq!(found(&place, &exact), ["a.txt:2:9 😀 Word word [(8, 12)]", "done 1 1 false"]);
    let expression = SearchQuery { regex: true, exclude: vec!["*.txt".into()], ..query("s?w.rd$") };
    assert_eq!(found(&place, &expression), ["b.rs:1:1 sword [(0, 5)]", "done 3 1 false"]);
    let all = SearchQuery { ignored: true, limit: 2, ..query("word") };
    assert_eq!(found(&place, &all).last().map(String::as_str), Some("done 5 2 true"));
    assert_eq!(found(&place, &query("w.rd")), ["done 4 0 false"]);
    let mut ignore = |_| ControlFlow::Continue(());
    let broken = SearchQuery { regex: true, ..query("(") };
    assert_eq!(code(place.files.search(&broken, &mut ignore)), ProblemCode::InvalidArguments);
    assert_eq!(code(place.files.search(&query(""), &mut ignore)), ProblemCode::InvalidArguments);
}

#[test]
fn of_a_long_line_the_part_around_the_match_is_told() {
    let place = Place::new();
    place.write("long", format!("{}needle{}", "ä".repeat(5000), "z".repeat(5000)));
    let mut seen = 0;
    let answer = place.files.search(&query("needle"), &mut |event| {
        if let SearchEvent::Match { text, spans, column, .. } = event {
            let (start, end) = spans[0];
            let units: Vec<u16> = text.encode_utf16().collect();
            assert_eq!(String::from_utf16_lossy(&units[start as usize..end as usize]), "needle");
            assert!(text.chars().count() <= 500 && column == 5001, "{} {column}", text.chars().count());
            seen += 1;
        }
        ControlFlow::Continue(())
    });
    answer.expect("a search");
    assert_eq!(seen, 1);
}

#[test]
fn names_are_found_by_likeness_and_by_glob() {
    let place = Place::new();
    for name in ["src/main.rs", "src/domain.rs", "docs/manual.md", "target/main.rs"] {
        place.write(name, "");
    }
    let names = |text: &str| found(&place, &SearchQuery { kind: SearchKind::Names, ..query(text) });
    assert_eq!(names("mainrs")[0], "src/main.rs");
    assert_eq!(names("*.md"), ["docs/manual.md", "done 3 1 false"]);
    assert_eq!(names("zzz"), ["done 3 0 false"]);
}
