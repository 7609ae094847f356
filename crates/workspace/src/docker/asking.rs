//! What can be asked for, and what cannot.

use reeve_types::workspace::WorkspaceSpec;
use reeve_types::{ProblemCode, WorkspaceError};

use super::Inner;
use crate::templates::Template;

/// Longest name and value of an environment variable, in bytes.
const VARIABLE_BYTES_MAX: (usize, usize) = (128, 32 * 1024);

/// Refuses what cannot be made as it was asked for.
pub(super) fn check(spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
    for (name, value) in &spec.environment {
        let plain = !name.is_empty()
            && name.len() <= VARIABLE_BYTES_MAX.0
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || name.starts_with("REEVE_") {
            return wrong(format!("`{}` cannot be the name of an environment variable", name.escape_default()));
        }
        if value.len() > VARIABLE_BYTES_MAX.1 || value.contains('\0') {
            return wrong(format!("the value of `{name}` is longer than 32 KiB or holds a NUL"));
        }
    }
    let limits = &spec.limits;
    if limits.memory_bytes < 32 << 20 || limits.pids < 16 || limits.cpu_millis < 10 || limits.open_files < 64 {
        return wrong("a workspace needs at least 32 MiB of memory, 16 processes, 0.01 cores and 64 open files".into());
    }
    if limits.disk_bytes < 1 << 20 || limits.disk_bytes > 16 << 40 {
        return wrong("a workspace's disk measures 1 MiB to 16 TiB".into());
    }
    Ok(())
}

fn wrong(said: String) -> Result<(), WorkspaceError> {
    Err(WorkspaceError::new(ProblemCode::BadRequest, said))
}

impl Inner {
    pub(super) fn template(&self, name: &str) -> Result<&Template, WorkspaceError> {
        self.options.templates.get(name).ok_or_else(|| {
            let names = self.options.templates.names();
            let said = format!("there is no template `{}`; there are {names}", name.escape_default());
            WorkspaceError::new(ProblemCode::BadRequest, said)
        })
    }
}

/// The image that a template names.
pub(super) fn image_of(template: &Template) -> Result<&str, WorkspaceError> {
    template.image.as_deref().ok_or_else(|| {
        let said = format!(
            "the template `{}` names no image; add `[docker]` with `image = …` to its template.toml",
            template.name
        );
        WorkspaceError::new(ProblemCode::BadRequest, said)
    })
}
