//! What a session's maker may add to an external agent's environment.

use std::collections::BTreeMap;

use reeve_types::ProblemCode;

use crate::sessions::SessionError;

/// Most environment variables of one session.
const ENVIRONMENT_MAX: usize = 50;
/// Names that would change how programs are found, loaded or reached, or that hold keys.
const DENIED: &[&str] = &[
    "PATH",
    "NODE_OPTIONS",
    "BASH_ENV",
    "ENV",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PERL5OPT",
    "RUBYOPT",
    "GIT_SSH_COMMAND",
    "EDITOR",
    "VISUAL",
    "HOME",
    "USER",
    "SHELL",
    "DATABASE_URL",
    "JWT_SECRET",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "IFS",
];
const DENIED_PREFIXES: &[&str] = &[
    "LD_",
    "DYLD_",
    "NPM_CONFIG_",
    "BASH_FUNC_",
    "SSH_",
    "GITHUB_",
    "GITLAB_",
    "AWS_",
    "AZURE_",
    "TF_",
    "CI_",
    "DOCKER_",
    "REEVE_",
    "AEGIS_",
    "ANTHROPIC_",
    "OPENAI_",
    "MOONSHOT_",
];
/// Names below those prefixes that say which model a session uses, with whose word: a maker's own.
const ALLOWED: &[&str] =
    &["ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_DEFAULT_MODEL", "ANTHROPIC_DEFAULT_FAST_MODEL"];

/// Checks what a session's maker adds to an agent's environment.
pub(in crate::sessions) fn checked_environment(
    given: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, SessionError> {
    let bad = |message: String| SessionError::new(ProblemCode::BadRequest, message);
    if given.len() > ENVIRONMENT_MAX {
        return Err(bad(format!("`env` names more than {ENVIRONMENT_MAX} variables")));
    }
    for (name, value) in given {
        let shown: String = name.chars().take(60).collect();
        let named = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if !named {
            return Err(bad(format!("`env`: `{shown}` is no name of a variable: use A to Z, 0 to 9 and `_`")));
        }
        let denied = DENIED.contains(&name.as_str()) || DENIED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if denied && !ALLOWED.contains(&name.as_str()) {
            return Err(bad(format!("`env`: `{shown}` cannot be set for an agent")));
        }
        if value.is_empty() || value.len() > 8192 || value.chars().any(char::is_control) {
            return Err(bad(format!("`env`: the value of `{shown}` is empty, too long, or holds control characters")));
        }
    }
    Ok(given.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_cannot_change_how_programs_are_found_or_carry_keys() {
        let of = |name: &str, value: &str| checked_environment(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        assert!(of("MY_FLAG", "1").is_ok());
        for name in ALLOWED {
            assert!(of(name, "x").is_ok(), "{name}");
        }
        for name in [
            "PATH",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "AWS_SECRET_ACCESS_KEY",
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_CUSTOM_HEADERS",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "MOONSHOT_API_KEY",
            "lower",
            "1A",
            "",
        ] {
            assert!(of(name, "x").is_err(), "{name}");
        }
        assert!(of("A", "").is_err());
        assert!(of("A", "a\nb").is_err());
    }
}
