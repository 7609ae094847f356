//! PostgreSQL's own parser, made safe to call with hostile text.
//!
//! The parser is recursive C code. A flat scan counts the tokens by which a text can nest before it is parsed, and the
//! parser runs on a thread whose stack holds the worst case that is let through.

use pg_query::protobuf::{ParseResult, Token};
use reeve_types::limits::SQL_BYTES_MAX;
use serde_json::Value;

use super::Refused;

/// How many tokens other than names, literals and commas a statement may have.
const NESTING_TOKENS_MAX: usize = 4_000;
/// How many operator characters may follow one another. PostgreSQL's scanner takes a whole run and hands all but its
/// first character back, so a long run costs the square of its length.
const OPERATOR_RUN_MAX: usize = 256;
/// How much of the parser's complaint is repeated, in characters: it may quote the whole text.
const PROBLEM_CHARS_MAX: usize = 200;
/// Enough for that many levels, with a wide margin; memory is only taken as it is used.
const PARSER_STACK_BYTES: usize = 256 * 1024 * 1024;

/// One parsed statement.
pub(super) struct Statement {
    /// Its text, without what stands before and after it.
    pub(super) sql: String,
    /// Its tree, with every field of every node.
    pub(super) tree: Value,
}

/// Parses a text that must hold exactly one statement.
pub(super) fn single(sql: &str) -> Result<Statement, Refused> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(Refused::TooLong { bytes: sql.len(), limit: SQL_BYTES_MAX });
    }
    if let Some(at) = sql.find('\0') {
        return Err(Refused::NullByte { at });
    }
    bound_nesting(sql)?;
    let text = sql.to_owned();
    let parser = std::thread::Builder::new()
        .name("sql-parser".to_owned())
        .stack_size(PARSER_STACK_BYTES)
        .spawn(move || parse(&text));
    match parser.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(Refused::NotVerified { problem: "the parser could not be run".to_owned() }),
    }
}

fn bound_nesting(sql: &str) -> Result<(), Refused> {
    let is_operator = |byte: &u8| b"~!@#^&|`?+-*/%<>=".contains(byte);
    if sql
        .as_bytes()
        .chunk_by(|a, b| is_operator(a) == is_operator(b))
        .any(|run| run.len() > OPERATOR_RUN_MAX && run.first().is_some_and(is_operator))
    {
        return Err(Refused::TooComplex);
    }
    let tokens = pg_query::scan(sql).map_err(|error| syntax(&error))?.tokens;
    let flat = |token: i32| {
        [Token::Ident, Token::Sconst, Token::Iconst, Token::Fconst, Token::Ascii44, Token::SqlComment, Token::CComment]
            .iter()
            .any(|known| *known as i32 == token)
    };
    let nesting = tokens.iter().filter(|t| !flat(t.token)).count();
    if nesting > NESTING_TOKENS_MAX { Err(Refused::TooComplex) } else { Ok(()) }
}

fn parse(sql: &str) -> Result<Statement, Refused> {
    let parsed = pg_query::parse(sql, 0).map_err(|error| syntax(&error))?.protobuf;
    let ParseResult { mut stmts, .. } = parsed;
    let (Some(raw), count) = (stmts.pop(), stmts.len() + 1) else { return Err(Refused::Empty) };
    if count > 1 {
        return Err(Refused::ManyStatements { count });
    }
    let Some(node) = raw.stmt else { return Err(Refused::Empty) };
    let start = usize::try_from(raw.stmt_location).unwrap_or_default();
    let length = usize::try_from(raw.stmt_len).unwrap_or_default();
    // A length of zero means "to the end of the text".
    let end = if length == 0 { sql.len() } else { start + length };
    let text = sql.get(start..end).ok_or(Refused::Syntax { problem: "the statement has no text".to_owned() })?;
    let tree = serde_json::to_value(&node).map_err(|_| Refused::TooComplex)?;
    Ok(Statement { sql: text.trim().to_owned(), tree })
}

fn syntax(error: &pg_query::Error) -> Refused {
    match error {
        // The decoder of the tree stops at a fixed depth.
        pg_query::Error::Decode(_) => Refused::TooComplex,
        pg_query::Error::Parse(problem) | pg_query::Error::Scan(problem)
            if problem.contains("stack depth limit") || problem.contains("nested too deeply") =>
        {
            Refused::TooComplex
        }
        pg_query::Error::Parse(problem) | pg_query::Error::Scan(problem) => {
            Refused::Syntax { problem: shortened(problem) }
        }
        other => Refused::Syntax { problem: shortened(&other.to_string()) },
    }
}

fn shortened(problem: &str) -> String {
    problem.chars().take(PROBLEM_CHARS_MAX).collect()
}
