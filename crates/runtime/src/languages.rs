//! Which program runs a file, by its extension or by the name of its language.

use std::path::{Path, PathBuf};

use reeve_types::workspace::processes::{ExecPhase, Language};
use reeve_types::{ProblemCode, WorkspaceError};
use tempfile::TempDir;

use crate::environment::Environment;

/// One language and how its files are run.
struct Toolchain {
    id: &'static str,
    extensions: &'static [&'static str],
    also_called: &'static [&'static str],
    way: Way,
}

enum Way {
    /// `program FILE ARGUMENT…`; the first of these programs that is there.
    Interpreted(&'static [&'static str]),
    /// `compiler OPTION… -o OUT FILE`, then `OUT ARGUMENT…`.
    Compiled { compilers: &'static [&'static str], options: &'static [&'static str], last: &'static [&'static str] },
    /// tsx, ts-node, or a node that strips types.
    TypeScript,
    /// javac into a directory, then java with the class named after the file.
    Java,
}

const TOOLCHAINS: [Toolchain; 12] = [
    Toolchain {
        id: "python",
        extensions: &["py", "pyw"],
        also_called: &["python3"],
        way: Way::Interpreted(&["python3", "python"]),
    },
    Toolchain {
        id: "node",
        extensions: &["js", "mjs", "cjs"],
        also_called: &["javascript"],
        way: Way::Interpreted(&["node"]),
    },
    Toolchain { id: "typescript", extensions: &["ts", "tsx"], also_called: &[], way: Way::TypeScript },
    Toolchain {
        id: "bash",
        extensions: &["sh", "bash"],
        also_called: &["shell"],
        way: Way::Interpreted(&["bash", "sh"]),
    },
    Toolchain {
        id: "c",
        extensions: &["c"],
        also_called: &[],
        way: Way::Compiled { compilers: &["gcc", "cc", "clang"], options: &[], last: &["-lm"] },
    },
    Toolchain {
        id: "cpp",
        extensions: &["cpp", "cc", "cxx", "hpp"],
        also_called: &["c++"],
        // A header would be compiled into one that waits to be included.
        way: Way::Compiled { compilers: &["g++", "c++", "clang++"], options: &["-x", "c++"], last: &[] },
    },
    Toolchain { id: "java", extensions: &["java"], also_called: &[], way: Way::Java },
    Toolchain {
        id: "go",
        extensions: &["go"],
        also_called: &["golang"],
        way: Way::Compiled { compilers: &["go"], options: &["build"], last: &[] },
    },
    Toolchain {
        id: "rust",
        extensions: &["rs"],
        also_called: &[],
        way: Way::Compiled {
            compilers: &["rustc"],
            options: &["--edition", "2021", "--crate-name", "main"],
            last: &[],
        },
    },
    Toolchain { id: "ruby", extensions: &["rb"], also_called: &[], way: Way::Interpreted(&["ruby"]) },
    Toolchain { id: "php", extensions: &["php"], also_called: &[], way: Way::Interpreted(&["php"]) },
    Toolchain { id: "perl", extensions: &["pl"], also_called: &[], way: Way::Interpreted(&["perl"]) },
];

/// The first version of node that can leave types out.
const NODE_STRIPS_TYPES: (u32, u32) = (22, 6);

/// What to run, step by step. The directory for what is compiled goes when the plan does.
pub(crate) struct Plan {
    /// The steps.
    pub(crate) steps: Vec<Step>,
    _compiled: Option<TempDir>,
}

/// One step of a plan.
pub(crate) struct Step {
    /// Compiler or program.
    pub(crate) phase: ExecPhase,
    what: What,
}

enum What {
    Argv(Vec<String>),
    /// Java's class, known once it is compiled.
    JavaClass {
        java: String,
        directory: PathBuf,
        stem: String,
        args: Vec<String>,
    },
}

impl Plan {
    /// Exactly this program.
    pub(crate) fn program(argv: Vec<String>) -> Self {
        Self { steps: vec![Step { phase: ExecPhase::Run, what: What::Argv(argv) }], _compiled: None }
    }

    /// A file, by its language. `node` is the version of node, when somebody has asked for it.
    pub(crate) fn file(
        file: &Path,
        language: Option<&str>,
        args: &[String],
        environment: &Environment,
        node: Option<(u32, u32)>,
    ) -> Result<Self, WorkspaceError> {
        let name = text(file)?;
        let Some(toolchain) = toolchain(file, language)? else {
            return Ok(Self::program(std::iter::once(name).chain(args.iter().cloned()).collect()));
        };
        match &toolchain.way {
            Way::Interpreted(programs) => {
                let program = environment.first_of(programs).ok_or_else(|| missing(toolchain.id, programs))?;
                Ok(Self::program(argv(&[program, &name], args)))
            }
            Way::TypeScript => Ok(Self::program(typescript(file, &name, args, environment, node)?)),
            Way::Compiled { compilers, options, last } => {
                let compiler = environment.first_of(compilers).ok_or_else(|| missing(toolchain.id, compilers))?;
                compiled(compiler, options, &name, last, args)
            }
            Way::Java => java(file, &name, args, environment),
        }
    }
}

impl Step {
    /// The program and its arguments, once the steps before are done.
    pub(crate) fn argv(&self) -> Result<Vec<String>, WorkspaceError> {
        match &self.what {
            What::Argv(argv) => Ok(argv.clone()),
            What::JavaClass { java, directory, stem, args } => {
                let class = main_class(directory, stem).ok_or_else(|| {
                    let message =
                        format!("the compiler made no class `{stem}`; name the class that holds main like its file");
                    WorkspaceError::new(ProblemCode::BadRequest, message)
                })?;
                Ok(argv(&[java, "-cp", &text(directory)?, &class], args))
            }
        }
    }
}

/// Every language, and whether it can be run here. `node` is the version of node.
pub(crate) fn all(environment: &Environment, node: Option<(u32, u32)>) -> Vec<Language> {
    TOOLCHAINS.iter().map(|toolchain| describe(toolchain, environment, node)).collect()
}

/// Whether the version of node matters: it is asked only then.
pub(crate) fn needs_node_version(environment: &Environment) -> bool {
    environment.first_of(&["tsx", "ts-node"]).is_none() && environment.find("node").is_some()
}

/// `v22.6.0` as a pair.
pub(crate) fn node_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn describe(toolchain: &Toolchain, environment: &Environment, node: Option<(u32, u32)>) -> Language {
    let one =
        |programs: &[&'static str]| environment.first_of(programs).or(programs.first().copied()).unwrap_or_default();
    let programs = match &toolchain.way {
        Way::Interpreted(programs) | Way::Compiled { compilers: programs, .. } => vec![one(programs)],
        Way::Java => vec!["javac", "java"],
        Way::TypeScript if strips_types(node) => vec![environment.first_of(&["tsx", "ts-node"]).unwrap_or("node")],
        Way::TypeScript => vec![one(&["tsx", "ts-node"])],
    };
    Language {
        id: toolchain.id.to_owned(),
        extensions: toolchain.extensions.iter().map(|extension| (*extension).to_owned()).collect(),
        available: programs.iter().all(|program| environment.find(program).is_some()),
        programs: programs.into_iter().map(str::to_owned).collect(),
    }
}

fn toolchain(file: &Path, language: Option<&str>) -> Result<Option<&'static Toolchain>, WorkspaceError> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    let Some(language) = language else {
        return Ok(TOOLCHAINS.iter().find(|known| known.extensions.contains(&extension.as_str())));
    };
    let wanted = language.to_ascii_lowercase();
    let named = |known: &&Toolchain| {
        let wanted = wanted.as_str();
        known.id == wanted || known.extensions.contains(&wanted) || known.also_called.contains(&wanted)
    };
    TOOLCHAINS.iter().find(named).map(Some).ok_or_else(|| {
        let known: Vec<&str> = TOOLCHAINS.iter().map(|known| known.id).collect();
        let message = format!("`{language}` is no language that can be run; use one of {}", known.join(", "));
        WorkspaceError::new(ProblemCode::BadRequest, message)
    })
}

fn typescript(
    file: &Path,
    name: &str,
    args: &[String],
    environment: &Environment,
    node: Option<(u32, u32)>,
) -> Result<Vec<String>, WorkspaceError> {
    if let Some(program) = environment.first_of(&["tsx", "ts-node"]) {
        return Ok(argv(&[program, name], args));
    }
    let jsx = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsx"));
    if strips_types(node) && !jsx {
        let strip = ["node", "--experimental-strip-types", "--disable-warning=ExperimentalWarning", name];
        return Ok(argv(&strip, args));
    }
    let message = "TypeScript needs tsx or ts-node, or for .ts files node 22.6 or later; this workspace has none of them: \
                   install one, for example with `npm install --global tsx`";
    Err(WorkspaceError::new(ProblemCode::MissingToolchain, message))
}

fn strips_types(node: Option<(u32, u32)>) -> bool {
    node.is_some_and(|version| version >= NODE_STRIPS_TYPES)
}

fn compiled(
    compiler: &str,
    options: &[&str],
    file: &str,
    last: &[&str],
    args: &[String],
) -> Result<Plan, WorkspaceError> {
    let directory = private_directory()?;
    let out = text(&directory.path().join("program"))?;
    let compile: Vec<&str> = std::iter::once(compiler)
        .chain(options.iter().copied())
        .chain(["-o", &out, file])
        .chain(last.iter().copied())
        .collect();
    let steps = vec![
        Step { phase: ExecPhase::Compile, what: What::Argv(argv(&compile, &[])) },
        Step { phase: ExecPhase::Run, what: What::Argv(argv(&[&out], args)) },
    ];
    Ok(Plan { steps, _compiled: Some(directory) })
}

fn java(file: &Path, name: &str, args: &[String], environment: &Environment) -> Result<Plan, WorkspaceError> {
    for program in ["javac", "java"] {
        environment.find(program).ok_or_else(|| missing("java", &["javac and java"]))?;
    }
    let directory = private_directory()?;
    let path = directory.path().to_owned();
    let compile = argv(&["javac", "-encoding", "UTF-8", "-d", &text(&path)?, name], &[]);
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let run = What::JavaClass { java: "java".to_owned(), directory: path, stem, args: args.to_vec() };
    let steps =
        vec![Step { phase: ExecPhase::Compile, what: What::Argv(compile) }, Step { phase: ExecPhase::Run, what: run }];
    Ok(Plan { steps, _compiled: Some(directory) })
}

/// The class named after the file, wherever its package put it; else the only class there is.
fn main_class(directory: &Path, stem: &str) -> Option<String> {
    let mut classes = Vec::new();
    let mut look_into = vec![directory.to_owned()];
    while let Some(next) = look_into.pop() {
        for entry in std::fs::read_dir(&next).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                look_into.push(path);
            } else if path.extension().is_some_and(|extension| extension == "class") {
                classes.push(path);
            }
        }
    }
    let named = classes.iter().find(|class| class.file_stem().is_some_and(|name| name == stem));
    let only = || if classes.len() == 1 { classes.first() } else { None };
    let class = named.or_else(only)?.strip_prefix(directory).ok()?.with_extension("");
    Some(class.to_str()?.replace('/', "."))
}

fn private_directory() -> Result<TempDir, WorkspaceError> {
    tempfile::Builder::new().prefix("reeve-run-").tempdir().map_err(|error| {
        let message = format!("no directory for the compiler's output can be made in /tmp: {error}; is its disk full?");
        WorkspaceError::new(ProblemCode::DiskFull, message)
    })
}

fn missing(language: &str, programs: &[&str]) -> WorkspaceError {
    let message =
        format!("running {language} takes {}, which this workspace does not have; install it", programs.join(" or "));
    WorkspaceError::new(ProblemCode::MissingToolchain, message)
}

fn argv(words: &[&str], args: &[String]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).chain(args.iter().cloned()).collect()
}

fn text(path: &Path) -> Result<String, WorkspaceError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let message = format!("`{}` is no UTF-8, and a program is named by text; rename it first", path.display());
        WorkspaceError::new(ProblemCode::BadName, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::of_programs(std::iter::empty(), "/workspace")
    }

    fn steps(plan: &Plan) -> Vec<Vec<String>> {
        plan.steps.iter().map(|step| step.argv().expect("an argv")).collect()
    }

    #[test]
    fn the_language_wins_over_the_extension() {
        let plan =
            Plan::file(Path::new("/w/x.py"), Some("sh"), &["a".to_owned()], &environment(), None).expect("a plan");
        assert_eq!(steps(&plan)[0][1..], ["/w/x.py", "a"]);
        assert!(["bash", "sh"].contains(&steps(&plan)[0][0].as_str()));
        let unknown = Plan::file(Path::new("/w/x.py"), Some("cobol"), &[], &environment(), None);
        assert_eq!(unknown.err().map(|error| error.code), Some(ProblemCode::BadRequest));
    }

    #[test]
    fn a_file_without_a_language_runs_itself() {
        let plan = Plan::file(Path::new("/w/run-me"), None, &["x".to_owned()], &environment(), None).expect("a plan");
        assert_eq!(steps(&plan), [["/w/run-me", "x"]]);
    }

    #[test]
    fn node_strips_types_from_22_6_on_and_never_from_tsx() {
        let bare = environment().with([("PATH", "/nowhere")]);
        let run = |file: &str, node| {
            Plan::file(Path::new(file), None, &[], &bare, node).map(|plan| steps(&plan)[0][0].clone())
        };
        assert_eq!(run("/w/a.ts", node_version("v22.6.0\n")), Ok("node".to_owned()));
        for (file, node) in [("/w/a.ts", "v20.19.1"), ("/w/a.tsx", "v24.0.0")] {
            assert_eq!(run(file, node_version(node)).map_err(|error| error.code), Err(ProblemCode::MissingToolchain));
        }
    }

    #[test]
    fn a_class_is_found_in_its_package() {
        let directory = tempfile::tempdir().expect("a directory");
        let package = directory.path().join("org/example");
        std::fs::create_dir_all(&package).expect("a package");
        for class in ["Main.class", "Main$Inner.class"] {
            std::fs::write(package.join(class), b"").expect("a class");
        }
        assert_eq!(main_class(directory.path(), "Main"), Some("org.example.Main".to_owned()));
        assert_eq!(main_class(directory.path(), "Other"), None);
    }
}
