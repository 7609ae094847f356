//! What an engine says of itself, as far as it decides how workspaces are held.

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
    /// Runtimes of containers that it knows.
    pub(super) runtimes: Vec<String>,
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
            runtimes: info.runtimes.unwrap_or_default().into_keys().collect(),
            storage: info.driver.unwrap_or_default(),
        }
    }

    /// Its name, for sentences.
    pub(super) fn name(&self) -> &'static str {
        if self.podman { "Podman" } else { "Docker Engine" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_cannot_be_limited_is_named() {
        let info = SystemInfo { swap_limit: Some(false), pids_limit: Some(true), ..SystemInfo::default() };
        assert_eq!(About::read(info, false).unlimited, ["swap"]);
    }
}
