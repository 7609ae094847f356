//! The environment of the programs in a workspace: the runtime's own, without what is the runtime's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::supervise::order::find_program;

/// Where programs are looked for when nobody says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variables of the runtime itself begin like this, and no program sees them.
const OWN: &str = "REEVE_";

/// Environment variables that every program gets.
#[derive(Debug, Clone)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes what the runtime was started with. Variables that are no UTF-8 are left out.
    pub(crate) fn of_programs(variables: impl Iterator<Item = (String, String)>, home: &str) -> Self {
        let mut kept: BTreeMap<String, String> = variables.filter(|(name, _)| !name.starts_with(OWN)).collect();
        for (name, value) in [("PATH", PATH), ("HOME", home), ("LANG", "C.UTF-8")] {
            kept.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        Self(kept)
    }

    /// The same with more; what is added wins.
    pub(crate) fn with<'a>(&self, more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all = self.0.clone();
        all.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        Self(all)
    }

    /// One variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Where a program lies.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        find_program(program, self.get("PATH").unwrap_or(PATH))
    }

    /// The first of some programs that is there.
    pub(crate) fn first_of<'a>(&self, programs: &[&'a str]) -> Option<&'a str> {
        programs.iter().copied().find(|program| self.find(program).is_some())
    }

    /// As an order carries it.
    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_runtimes_stays_with_it() {
        let given = [("REEVE_RUNTIME_TOKEN", "secret"), ("EDITOR", "vi"), ("PATH", "/bin")];
        let given = given.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment::of_programs(given, "/workspace");
        assert_eq!(environment.get("REEVE_RUNTIME_TOKEN"), None);
        assert_eq!(environment.get("EDITOR"), Some("vi"));
        assert_eq!(environment.get("HOME"), Some("/workspace"));
        assert_eq!(environment.first_of(&["no-such-program", "sh"]), Some("sh"));
    }
}
