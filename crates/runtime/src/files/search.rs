//! Searching names and contents.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkMatch};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Utf32Str};
use reeve_types::workspace::files::{SearchEvent, SearchKind, SearchQuery};
use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use rustix::fs::FileType;

use super::Files;
use super::beneath::{open_child_dir, open_child_file, visible_names};
use super::copy::LEVELS_MAX;
use super::entry::{entry_at, shown};
use super::failure::Outcome;
use super::rules::Rules;

const LIMIT_MAX: u32 = 10_000;
/// Longest query, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Most globs of one kind.
const GLOBS_MAX: usize = 100;
/// Most memory that one line, or one compiled expression, may take, in bytes.
const HEAP_MAX: usize = 16 * 1024 * 1024;
/// Most characters of a line that are told.
const SHOWN_MAX: usize = 500;
/// How many characters before the first match are told of a long line.
const LEAD: usize = 100;

/// Where found things go; it may say that it has had enough.
type Tell<'a> = dyn FnMut(SearchEvent) -> ControlFlow<()> + 'a;

impl Files {
    /// Searches, and tells what it finds; [`SearchEvent::Done`] comes last, unless whoever listens breaks off.
    /// Links are not followed, files with a NUL are taken for binary and left.
    ///
    /// # Errors
    /// `invalid_arguments` for an empty text, an expression or a glob that cannot be read.
    pub fn search(&self, query: &SearchQuery, tell: &mut dyn FnMut(SearchEvent) -> ControlFlow<()>) -> Outcome<()> {
        if query.text.is_empty() || query.text.len() > TEXT_BYTES_MAX {
            return Err(unclear("a search needs a text of 1 to 4096 bytes".to_owned()));
        }
        let scope = Scope::new(query)?;
        let limit = u64::from(query.limit.clamp(1, LIMIT_MAX));
        let done = match query.kind {
            SearchKind::Contents => self.search_contents(query, &scope, limit, tell)?,
            SearchKind::Names => self.search_names(query, &scope, limit, tell)?,
        };
        if let Some(done) = done {
            let _ = tell(done);
        }
        Ok(())
    }

    fn search_contents(
        &self,
        query: &SearchQuery,
        scope: &Scope,
        limit: u64,
        tell: &mut Tell<'_>,
    ) -> Outcome<Option<SearchEvent>> {
        let matcher = line_matcher(query)?;
        let mut searcher = SearcherBuilder::new()
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(HEAP_MAX))
            .line_number(true)
            .build();
        let (mut files, mut matches, mut truncated, mut left) = (0, 0, false, false);
        self.walk_files(scope, &mut |dir, path| {
            let Ok((fd, _)) = open_child_file(dir, path.name().unwrap_or_default()) else {
                return ControlFlow::Continue(());
            };
            files += 1;
            let mut found = Found { path, matcher: &matcher, limit, told: &mut matches, cut: false, left: false, tell };
            // A file that cannot be read to its end has told what it had.
            let _ = searcher.search_file(&matcher, &File::from(fd), &mut found);
            truncated |= found.cut;
            left |= found.left;
            if truncated || left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        Ok((!left).then_some(SearchEvent::Done { files, matches, truncated }))
    }

    fn search_names(
        &self,
        query: &SearchQuery,
        scope: &Scope,
        limit: u64,
        tell: &mut Tell<'_>,
    ) -> Outcome<Option<SearchEvent>> {
        let mut judge = Judge::new(query)?;
        let mut best: BinaryHeap<Reverse<(u32, Reverse<WorkspacePath>)>> = BinaryHeap::new();
        let (mut files, mut truncated) = (0, false);
        self.walk_files(scope, &mut |_, path| {
            files += 1;
            if let Some(score) = judge.score(path) {
                best.push(Reverse((score, Reverse(path.clone()))));
                if best.len() as u64 > limit {
                    best.pop();
                    truncated = true;
                }
            }
            ControlFlow::Continue(())
        });
        let mut matches = 0;
        for Reverse((_, Reverse(path))) in best.into_sorted_vec() {
            let Ok(dir) = self.root().open_dir(&path.parent()) else { continue };
            let rules = Rules::down_to(self.root(), &path.parent());
            let Ok(entry) = entry_at(&dir, path, &rules) else { continue };
            matches += 1;
            if tell(SearchEvent::File { entry }).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(SearchEvent::Done { files, matches, truncated }))
    }

    /// Shows every regular file in scope, in the order of names.
    fn walk_files(&self, scope: &Scope, each: &mut dyn FnMut(&OwnedFd, &WorkspacePath) -> ControlFlow<()>) {
        let root = WorkspacePath::root();
        if let Ok(dir) = self.root().open_dir(&root) {
            let _ = walk(scope, &dir, &root, &Rules::down_to(self.root(), &root), 0, each);
        }
    }
}

fn walk(
    scope: &Scope,
    dir: &OwnedFd,
    path: &WorkspacePath,
    rules: &Rules,
    level: u32,
    each: &mut dyn FnMut(&OwnedFd, &WorkspacePath) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let names = visible_names(dir.as_fd(), path.is_root()).unwrap_or_default();
    for (name, kind) in names {
        let Ok(child) = path.join(&name) else { continue };
        let is_dir = kind == FileType::Directory;
        if (!scope.ignored && rules.ignores(&child, is_dir)) || scope.excludes(&child) {
            continue;
        }
        match kind {
            FileType::RegularFile if scope.includes(&child) => each(dir, &child)?,
            FileType::Directory if level < LEVELS_MAX => {
                if let Ok(inside) = open_child_dir(dir, &name) {
                    let below = rules.below(&inside, &child);
                    walk(scope, &inside, &child, &below, level + 1, each)?;
                }
            }
            _ => {}
        }
    }
    ControlFlow::Continue(())
}

/// Which files are looked at.
struct Scope {
    ignored: bool,
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

impl Scope {
    fn new(query: &SearchQuery) -> Outcome<Self> {
        let ignored = query.ignored;
        Ok(Self { ignored, include: globs(&query.include)?, exclude: globs(&query.exclude)? })
    }

    fn includes(&self, path: &WorkspacePath) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.is_match(as_path(path)))
    }

    fn excludes(&self, path: &WorkspacePath) -> bool {
        self.exclude.as_ref().is_some_and(|globs| globs.is_match(as_path(path)))
    }
}

fn as_path(path: &WorkspacePath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

fn globs(texts: &[String]) -> Outcome<Option<GlobSet>> {
    let texts: Vec<&str> = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
    if texts.is_empty() {
        return Ok(None);
    }
    if texts.len() > GLOBS_MAX {
        return Err(unclear(format!("a search takes at most {GLOBS_MAX} globs")));
    }
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let plain = text.trim_start_matches("./").trim_matches('/');
        let anywhere = if plain.contains('/') { plain.to_owned() } else { format!("**/{plain}") };
        for glob in [anywhere.clone(), format!("{anywhere}/**")] {
            let glob = GlobBuilder::new(&glob).literal_separator(true).build();
            set.add(glob.map_err(|error| unclear(format!("`{text}` is no glob: {error}")))?);
        }
    }
    set.build().map(Some).map_err(|error| unclear(format!("the globs cannot be read: {error}")))
}

fn unclear(message: String) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::InvalidArguments, message)
}

fn line_matcher(query: &SearchQuery) -> Outcome<RegexMatcher> {
    let mut builder = RegexMatcherBuilder::new();
    builder.case_insensitive(!query.case_sensitive).word(query.whole_word).fixed_strings(!query.regex);
    builder.size_limit(HEAP_MAX).dfa_size_limit(HEAP_MAX).line_terminator(Some(b'\n'));
    builder.build(&query.text).map_err(|error| unclear(format!("`{}` cannot be searched for: {error}", query.text)))
}

/// Tells the lines of one file.
struct Found<'a, 't> {
    path: &'a WorkspacePath,
    matcher: &'a RegexMatcher,
    limit: u64,
    told: &'a mut u64,
    cut: bool,
    left: bool,
    tell: &'a mut Tell<'t>,
}

impl Sink for Found<'_, '_> {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, Self::Error> {
        if *self.told >= self.limit {
            self.cut = true;
            return Ok(false);
        }
        let line = strip_end(found.bytes());
        let (text, spans, column) = told_line(self.matcher, line);
        *self.told += 1;
        let line = found.line_number().unwrap_or(0);
        let event = SearchEvent::Match { path: self.path.clone(), line, text, spans, column };
        self.left = (self.tell)(event).is_break();
        Ok(!self.left)
    }
}

fn strip_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The part of a line around its first match, where the matches are in it, and the column of the first.
fn told_line(matcher: &RegexMatcher, line: &[u8]) -> (String, Vec<(u32, u32)>, u32) {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let _ = matcher.find_iter(line, |at| {
        found.push((at.start(), at.end()));
        found.len() < SHOWN_MAX
    });
    let first = found.first().map_or(0, |(start, _)| *start);
    let column = units(line.get(..first).unwrap_or_default()) + 1;
    let (from, to) = window(line, first);
    let part = |start: usize, end: usize| line.get(start..end).unwrap_or_default();
    let spans = found
        .iter()
        .filter(|(start, end)| *start >= from && *start < to && end > start)
        .map(|(start, end)| (units(part(from, *start)), units(part(from, (*end).min(to)))))
        .collect();
    (String::from_utf8_lossy(part(from, to)).into_owned(), spans, column)
}

/// At most [`SHOWN_MAX`] characters around a byte, cut between characters.
fn window(line: &[u8], around: usize) -> (usize, usize) {
    let starts_char = |byte: &u8| byte & 0xC0 != 0x80;
    let back = |from: usize, count: usize| {
        let before = line.get(..from).unwrap_or_default();
        before.iter().enumerate().rev().filter(|(_, byte)| starts_char(byte)).nth(count).map_or(0, |(at, _)| at)
    };
    let from = if line.len() <= SHOWN_MAX { 0 } else { back(around, LEAD - 1) };
    let rest = line.get(from..).unwrap_or_default();
    let to =
        rest.iter().enumerate().filter(|(_, byte)| starts_char(byte)).nth(SHOWN_MAX).map_or(rest.len(), |(at, _)| at);
    (from, from + to.min(SHOWN_MAX * 4))
}

/// UTF-16 units of bytes, what is no UTF-8 counted as it is shown.
fn units(bytes: &[u8]) -> u32 {
    let count = String::from_utf8_lossy(bytes).encode_utf16().count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Decides whether a path is what is looked for, and how well it fits.
enum Judge {
    Fuzzy { pattern: Pattern, matcher: Box<nucleo_matcher::Matcher>, buffer: Vec<char> },
    Glob(GlobSet),
    Expression(RegexMatcher),
}

impl Judge {
    fn new(query: &SearchQuery) -> Outcome<Self> {
        if query.regex {
            return line_matcher(query).map(Self::Expression);
        }
        if query.text.contains(['*', '?'])
            && let Some(set) = globs(std::slice::from_ref(&query.text))?
        {
            return Ok(Self::Glob(set));
        }
        let case = if query.case_sensitive { CaseMatching::Respect } else { CaseMatching::Ignore };
        let pattern = Pattern::parse(&query.text, case, Normalization::Smart);
        let matcher = Box::new(nucleo_matcher::Matcher::new(Config::DEFAULT.match_paths()));
        Ok(Self::Fuzzy { pattern, matcher, buffer: Vec::new() })
    }

    fn score(&mut self, path: &WorkspacePath) -> Option<u32> {
        match self {
            Self::Fuzzy { pattern, matcher, buffer } => {
                pattern.score(Utf32Str::new(&shown(path.as_bytes()), buffer), matcher)
            }
            Self::Glob(set) => set.is_match(as_path(path)).then_some(0),
            Self::Expression(matcher) => matcher.is_match(path.as_bytes()).unwrap_or(false).then_some(0),
        }
    }
}
