//! What an engine says of itself, as far as it decides how workspaces are held.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum};

/// One engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct About {
    /// Its version.
    pub(super) version: String,
    /// Whether it is Podman.
    pub(super) podman: bool,
    /// Whether it runs without root.
    pub(super) rootless: bool,
    /// Whether users inside are nobody's outside.
    pub(super) user_namespaces: bool,
    /// Whether containers get a filter of system calls unless told otherwise.
    pub(super) seccomp: bool,
    /// `cgroup1`, `cgroup2`.
    pub(super) limits: &'static str,
    /// What it cannot limit here.
    pub(super) unlimited: Vec<&'static str>,
    /// Cores of its machine.
    pub(super) cores: Option<u32>,
    /// Runtimes of containers that it knows, each with its program.
    pub(super) runtimes: BTreeMap<String, Option<String>>,
    /// How it keeps images.
    pub(super) storage: String,
}

impl About {
    pub(super) fn read(info: SystemInfo, podman: bool) -> Self {
        let options = info.security_options.unwrap_or_default();
        let has =
            |name: &str| options.iter().any(|option| option.split(',').any(|part| part == format!("name={name}")));
        let rootless = has("rootless");
        let lacks = |able: Option<bool>, what: &'static str| (able == Some(false)).then_some(what);
        let unlimited = [
            lacks(info.memory_limit, "memory"),
            lacks(info.swap_limit, "swap"),
            lacks(info.cpu_cfs_quota, "processor"),
            lacks(info.pids_limit, "processes"),
        ];
        Self {
            version: info.server_version.unwrap_or_default(),
            podman,
            rootless,
            user_namespaces: rootless || has("userns"),
            seccomp: has("seccomp") && !options.iter().any(|option| option.contains("profile=unconfined")),
            limits: match info.cgroup_version {
                Some(SystemInfoCgroupVersionEnum::_2) => "cgroup2",
                _ => "cgroup1",
            },
            unlimited: unlimited.into_iter().flatten().collect(),
            cores: info.ncpu.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0),
            runtimes: info.runtimes.unwrap_or_default().into_iter().map(|(name, known)| (name, known.path)).collect(),
            storage: info.driver.unwrap_or_default(),
        }
    }

    /// Whether a runtime of containers is gVisor: by its program, whatever the engine calls it. A runtime that the engine
    /// names by its kind only, as `io.containerd.runsc.v1`, is told by that.
    pub(super) fn is_gvisor(&self, runtime: &str) -> bool {
        let program = self.runtimes.get(runtime).cloned().flatten().filter(|path| !path.is_empty());
        match program.as_deref().map(Path::new) {
            Some(program) if program.is_absolute() => {
                let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
                [program, &real].iter().any(|path| path.file_name().is_some_and(is_runsc))
            }
            Some(program) => program.file_name().is_some_and(is_runsc),
            None => is_runsc(OsStr::new(runtime)),
        }
    }

    /// Its name, for sentences.
    pub(super) fn name(&self) -> &'static str {
        if self.podman { "Podman" } else { "Docker Engine" }
    }
}

fn is_runsc(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.split(['.', '-', '_']).any(|part| part == "runsc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::Runtime;

    fn engine(options: &[&str]) -> About {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        About::read(SystemInfo { security_options: Some(options), ..SystemInfo::default() }, false)
    }

    #[test]
    fn protections_are_believed_only_when_they_are_named() {
        let usual = engine(&["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"]);
        assert!(usual.seccomp && !usual.user_namespaces && !usual.rootless);
        assert!(!engine(&["name=seccomp,profile=unconfined"]).seccomp);
        assert!(!engine(&[]).seccomp);
        assert!(engine(&["name=seccomp,profile=builtin", "name=userns"]).user_namespaces);
        assert!(engine(&["name=rootless"]).user_namespaces);
    }

    #[test]
    fn gvisor_is_told_by_its_program() {
        let directory = tempfile::tempdir().expect("a directory");
        let (real, link) = (directory.path().join("runsc"), directory.path().join("other"));
        std::fs::write(&real, "").expect("a file");
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        let runtime = |path: &str| Runtime { path: Some(path.to_owned()), ..Runtime::default() };
        let known = [
            ("sandboxed", runtime("/usr/local/bin/runsc")),
            ("linked", runtime(link.to_str().expect("a plain path"))),
            ("runsc", runtime("/usr/bin/runc")),
            ("runsc-by-name", runtime("runc")),
            ("bare", runtime("runsc")),
            ("kind", runtime("io.containerd.runsc.v1")),
        ];
        let known = known.map(|(name, runtime)| (name.to_owned(), runtime)).into();
        let about = About::read(SystemInfo { runtimes: Some(known), ..SystemInfo::default() }, false);
        for (name, gvisor) in [
            ("sandboxed", true),
            ("linked", true),
            ("runsc", false),
            ("runsc-by-name", false),
            ("bare", true),
            ("kind", true),
            ("io.containerd.runsc.v1", true),
            ("crun", false),
        ] {
            assert_eq!(about.is_gvisor(name), gvisor, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_limited_is_named() {
        let info = SystemInfo { swap_limit: Some(false), pids_limit: Some(true), ..SystemInfo::default() };
        assert_eq!(About::read(info, false).unlimited, ["swap"]);
    }
}
