//! A command line split into words as POSIX shells quote them, without a shell.

/// Why a command line cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadQuoting {
    /// A quotation is not closed.
    #[error("no closing quotation")]
    Open,
    /// A backslash ends it.
    #[error("no escaped character")]
    Escape,
}

/// Splits a command line. Nothing is expanded.
pub(crate) fn split(line: &str) -> Result<Vec<String>, BadQuoting> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => single(&mut letters, word.get_or_insert_default())?,
            '"' => double(&mut letters, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(letters.next().ok_or(BadQuoting::Escape)?),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single(letters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), BadQuoting> {
    for letter in letters {
        match letter {
            '\'' => return Ok(()),
            plain => word.push(plain),
        }
    }
    Err(BadQuoting::Open)
}

/// Between double quotes a backslash stands for itself, unless what follows would mean something.
fn double(letters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), BadQuoting> {
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok(()),
            '\\' => match letters.next().ok_or(BadQuoting::Open)? {
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                '\n' => {}
                plain => word.extend(['\\', plain]),
            },
            plain => word.push(plain),
        }
    }
    Err(BadQuoting::Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_command_lines() {
        let table: [(&str, &[&str]); 8] = [
            ("ls -la", &["ls", "-la"]),
            ("  a\t b\n", &["a", "b"]),
            ("sh -c 'echo \"x y\" | cat'", &["sh", "-c", "echo \"x y\" | cat"]),
            (r#"a "b \" c" \d"#, &["a", "b \" c", "d"]),
            (r#""\x""#, &[r"\x"]),
            ("a''b ''", &["ab", ""]),
            ("echo $HOME ; id", &["echo", "$HOME", ";", "id"]),
            ("", &[]),
        ];
        for (line, words) in table {
            assert_eq!(split(line).expect("words"), words, "{line:?}");
        }
        assert_eq!(split("echo 'x"), Err(BadQuoting::Open));
        assert_eq!(split("echo \"x"), Err(BadQuoting::Open));
        assert_eq!(split("echo \\"), Err(BadQuoting::Escape));
    }
}
