//! Reading a connection string: libpq's `key=value` form and its URIs.

use std::collections::BTreeMap;

use super::keywords::{Support, keyword};
use super::{CONNINFO_BYTES_MAX, ConninfoError};

/// Keyword and value of everything that the string says.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, ConninfoError> {
    if text.len() > CONNINFO_BYTES_MAX {
        return Err(ConninfoError::TooLong { bytes: text.len() });
    }
    if let Some(at) = text.find('\0') {
        return Err(ConninfoError::NullByte { at });
    }
    for scheme in ["postgresql://", "postgres://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return Uri { rest, offset: scheme.len(), found: BTreeMap::new() }.parse();
        }
    }
    pairs(text)
}

/// Whether a text is meant as a connection string at all, and not as the name of something.
pub fn looks_like_conninfo(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://") || text.contains('=')
}

/// Checks the keyword and stores its value; a later value replaces an earlier one, as in libpq.
fn store(found: &mut BTreeMap<String, String>, name: &str, value: String, at: usize) -> Result<(), ConninfoError> {
    let Some(known) = keyword(name) else {
        return Err(ConninfoError::UnknownKeyword { name: name.to_owned(), at });
    };
    if let Support::Refused(why) = known.support
        && !value.is_empty()
    {
        return Err(ConninfoError::Unsupported { name: known.name, why, source_name: "the connection string" });
    }
    found.insert(known.name.to_owned(), value);
    Ok(())
}

/// `key = 'value' key=value`: blanks around `=` are allowed, `\` takes the next character as it is.
fn pairs(text: &str) -> Result<BTreeMap<String, String>, ConninfoError> {
    let mut found = BTreeMap::new();
    let mut chars = text.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let Some(&(key_at, _)) = chars.peek() else { return Ok(found) };
        let mut key = String::new();
        while let Some((_, c)) = chars.next_if(|(_, c)| *c != '=' && !c.is_ascii_whitespace()) {
            key.push(c);
        }
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        if chars.next_if(|(_, c)| *c == '=').is_none() {
            // The word may be a stray piece of a password, so it is not repeated.
            return Err(ConninfoError::MissingEquals { at: key_at });
        }
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let value = value(&mut chars)?;
        store(&mut found, &key, value, key_at)?;
    }
}

fn value(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>) -> Result<String, ConninfoError> {
    let mut value = String::new();
    let Some((opened_at, _)) = chars.next_if(|(_, c)| *c == '\'') else {
        while let Some((_, c)) = chars.next_if(|(_, c)| !c.is_ascii_whitespace()) {
            match c {
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                c => value.push(c),
            }
        }
        return Ok(value);
    };
    loop {
        match chars.next() {
            None => return Err(ConninfoError::UnterminatedQuote { at: opened_at }),
            Some((_, '\'')) => return Ok(value),
            Some((_, '\\')) => value.extend(chars.next().map(|(_, escaped)| escaped)),
            Some((_, c)) => value.push(c),
        }
    }
}

struct Uri<'a> {
    rest: &'a str,
    /// Bytes of the string before `rest`, for the places that errors name.
    offset: usize,
    found: BTreeMap<String, String>,
}

impl Uri<'_> {
    fn parse(mut self) -> Result<BTreeMap<String, String>, ConninfoError> {
        let (before_query, query) = match self.rest.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (self.rest, None),
        };
        // As libpq: user information is there when an `@` comes before the first `/`.
        let authority_end = before_query.find('/').unwrap_or(before_query.len());
        let (authority, path) = before_query.split_at(authority_end);
        let (user_info, hosts, hosts_at) = match authority.rfind('@') {
            Some(at) => (authority.get(..at), authority.get(at + 1..).unwrap_or(""), at + 1),
            None => (None, authority, 0),
        };
        if let Some(user_info) = user_info {
            self.user_info(user_info)?;
        }
        self.hosts(hosts, self.offset + hosts_at)?;
        if let Some(name) = path.strip_prefix('/')
            && !name.is_empty()
        {
            let at = self.offset + authority_end + 1;
            let decoded = decode(name, at)?;
            store(&mut self.found, "dbname", decoded, at)?;
        }
        if let Some(query) = query {
            self.query(query, self.offset + before_query.len() + 1)?;
        }
        Ok(self.found)
    }

    fn user_info(&mut self, text: &str) -> Result<(), ConninfoError> {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (text, None),
        };
        if !user.is_empty() {
            let decoded = decode(user, self.offset)?;
            store(&mut self.found, "user", decoded, self.offset)?;
        }
        if let Some(password) = password
            && !password.is_empty()
        {
            let at = self.offset + user.len() + 1;
            let decoded = decode(password, at)?;
            store(&mut self.found, "password", decoded, at)?;
        }
        Ok(())
    }

    /// `h1:p1,h2,[::1]:p3` becomes parallel lists, as libpq's own two keywords are.
    fn hosts(&mut self, text: &str, mut at: usize) -> Result<(), ConninfoError> {
        if text.is_empty() {
            return Ok(());
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for part in text.split(',') {
            let (host, port) = host_and_port(part, at)?;
            hosts.push(decode(host, at)?);
            ports.push(decode(port, at)?);
            at += part.len() + 1;
        }
        if hosts.iter().any(|h| !h.is_empty()) || hosts.len() > 1 {
            store(&mut self.found, "host", hosts.join(","), at)?;
        }
        if ports.iter().any(|p| !p.is_empty()) {
            store(&mut self.found, "port", ports.join(","), at)?;
        }
        Ok(())
    }

    fn query(&mut self, text: &str, mut at: usize) -> Result<(), ConninfoError> {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(ConninfoError::MissingEquals { at });
            };
            let key = decode(key, at)?;
            let value = decode(value, at + key.len() + 1)?;
            match (key.as_str(), value.as_str()) {
                // JDBC's spelling, which libpq understands too.
                ("ssl", "true") => store(&mut self.found, "sslmode", "require".to_owned(), at)?,
                _ => store(&mut self.found, &key, value, at)?,
            }
            at += pair.len() + 1;
        }
        Ok(())
    }
}

fn host_and_port(part: &str, at: usize) -> Result<(&str, &str), ConninfoError> {
    if let Some(inside) = part.strip_prefix('[') {
        let Some((address, after)) = inside.split_once(']') else {
            return Err(ConninfoError::UnterminatedBracket { at });
        };
        return match after.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if after.is_empty() => Ok((address, "")),
            None => Err(ConninfoError::AfterBracket { at: at + address.len() + 2 }),
        };
    }
    Ok(part.split_once(':').unwrap_or((part, "")))
}

/// Undoes percent-encoding (RFC 3986 §2.1). `+` stays `+`, as in libpq.
fn decode(text: &str, at: usize) -> Result<String, ConninfoError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes().enumerate();
    while let Some((place, byte)) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<(usize, u8)>| b.and_then(|(_, b)| char::from(b).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(0), Some(0)) => return Err(ConninfoError::NullByte { at: at + place }),
            (Some(high), Some(low)) => bytes.push(u8::try_from(high * 16 + low).unwrap_or_default()),
            _ => return Err(ConninfoError::BadPercent { at: at + place }),
        }
    }
    String::from_utf8(bytes).map_err(|_| ConninfoError::NotUtf8 { at })
}
