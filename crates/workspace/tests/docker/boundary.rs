//! What a workspace is made of on the engine, and what cannot be done from inside.

use bollard::models::{ContainerInspectResponse, HostConfig};

use crate::actor::spec;
use crate::escapes;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_is_on_the_engine_as_it_was_promised() {
    let stage = Stage::new().await;
    let (actor, spec) = (stage.actor(), spec());
    let isolation = actor.begin(&spec).await;
    assert_eq!((isolation.tier.as_str(), isolation.network.as_str()), ("container", "none"));
    assert!(isolation.seccomp && isolation.limits.starts_with("cgroup"), "{isolation:?}");

    let name = format!("vibecode-ada-{}", spec.id);
    let made = stage.docker.inspect_container(&name, None).await.expect("a container of that name");
    let labels = made.config.as_ref().and_then(|config| config.labels.clone()).expect("labels");
    let volume = format!("{name}-ws");
    let wanted =
        [("app", "vibecode"), ("user_id", "ada"), ("session_id", spec.id.as_str()), ("volume_name", volume.as_str())];
    for (label, value) in wanted {
        assert_eq!(labels.get(label).map(String::as_str), Some(value), "{label}");
    }
    assert!(labels.get("created_at").is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok()), "{labels:?}");
    assert_eq!(stage.docker.inspect_volume(&volume).await.expect("a volume of that name").labels["user_id"], "ada");
    if !stage.daemon.given {
        // Other engines tell what they were told in other words; what holds inside is tried below.
        as_promised(&made);
    }
    nothing_of_the_host_but_sockets_and_the_program(&made);
}

fn as_promised(made: &ContainerInspectResponse) {
    let HostConfig { memory, memory_swap, nano_cpus, pids_limit, cap_drop, cap_add, .. } = host(made);
    assert_eq!((memory, memory_swap), (Some(256 << 20), Some(256 << 20)), "swap is no way out");
    assert_eq!((nano_cpus, pids_limit), (Some(1_500_000_000), Some(128)));
    assert_eq!(cap_drop, Some(vec!["ALL".to_owned()]));
    assert!(cap_add.unwrap_or_default().is_empty());
    let host = host(made);
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    assert_eq!(host.readonly_rootfs, Some(true));
    assert_eq!(host.privileged, Some(false));
    let options = host.security_opt.unwrap_or_default();
    assert_eq!(options, ["no-new-privileges"], "the engine's own filter of system calls stays");
    assert!(host.tmpfs.unwrap_or_default().contains_key("/tmp"));
    let ulimits: Vec<_> = host.ulimits.unwrap_or_default().into_iter().filter_map(|u| u.name.zip(u.hard)).collect();
    assert_eq!(ulimits, [("nofile".to_owned(), 8192), ("core".to_owned(), 0)]);
    let config = made.config.clone().expect("a configuration");
    assert_eq!(config.user.as_deref(), Some("1000:1000"));
}

fn host(made: &ContainerInspectResponse) -> HostConfig {
    made.host_config.clone().expect("a configuration")
}

fn nothing_of_the_host_but_sockets_and_the_program(made: &ContainerInspectResponse) {
    let mounts = made.mounts.clone().expect("mounts");
    let binds: Vec<_> = mounts.iter().filter(|mount| mount.name.is_none()).collect();
    let mut inside: Vec<_> = binds.iter().map(|mount| (mount.destination.as_deref(), mount.rw)).collect();
    inside.sort();
    assert_eq!(inside, [(Some("/opt/reeve/reeve-runtime"), Some(false)), (Some("/run/reeve"), Some(true))]);
}

/// Rows of the table that an engine leaves open by itself, as docs/workspaces-isolation.md tells.
const NOTED: [&str; 3] = ["writing_outside", "proc_and_sys", "deep_in_the_kernel"];

/// The same of Podman 4.3, whose filter of system calls leaves more to the lack of capabilities.
const NOTED_ELSEWHERE: [&str; 7] = [
    "writing_outside",
    "proc_and_sys",
    "deep_in_the_kernel",
    "mounting",
    "keyrings",
    "namespaces",
    "terminal_injection",
];

/// What is tried besides the table, each with why it must fail.
const ATTEMPTS: [(&str, &str); 7] = [
    ("echo x >> /opt/reeve/reeve-runtime", "the program inside is this machine's"),
    ("rm /opt/reeve/reeve-runtime", "the program inside is this machine's"),
    ("echo x >> /etc/passwd", "nobody may make users"),
    ("nsenter -t 1 -m true", "no other namespaces"),
    ("dmesg", "what the kernel says"),
    ("chown 0:0 README.md", "no capabilities"),
    ("find / -xdev -name 'docker.sock' 2>/dev/null | grep .", "the engine's socket"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_out_is_shut_but_those_that_are_noted() {
    let stage = Stage::with_python().await;
    let noted: &[&str] = if stage.daemon.given { &NOTED_ELSEWHERE } else { &NOTED };
    escapes::every_way_is_shut(&stage, noted, !stage.daemon.given).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_the_machine_nor_a_neighbour_is_seen() {
    let stage = Stage::with_python().await;
    escapes::files_of_the_machine_are_not_seen(&stage).await;
    escapes::neighbours_and_the_machine_cannot_be_reached(&stage).await;
    escapes::links_that_lead_out_lead_nowhere(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_finds_no_way_out_either() {
    let stage = Stage::new().await;
    let (actor, spec) = (stage.actor(), spec());
    actor.begin(&spec).await;
    for (attempt, why) in ATTEMPTS {
        let tried = actor.shell(&spec.id, attempt).await;
        assert_ne!(tried.outcome.exit_code, 0, "`{attempt}` must fail ({why}): {tried:?}");
        // A word that is misspelt, or a program that is not there, would shut out nothing.
        assert_ne!(tried.outcome.exit_code, 127, "`{attempt}` was not tried: {tried:?}");
    }
    let status = actor.told(&spec.id, &["cat", "/proc/self/status"]).await;
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(actor.told(&spec.id, &["ls", "/sys/class/net"]).await, "lo");
    let hosts = actor.told(&spec.id, &["cat", "/proc/self/mountinfo"]).await;
    let writable = hosts.lines().filter(|line| line.split(' ').nth(5).is_some_and(|how| how.starts_with("rw")));
    let writable: Vec<_> = writable.filter_map(|line| line.split(' ').nth(4)).collect();
    let expected = ["/proc", "/dev", "/workspace", "/home/reeve", "/run/reeve", "/tmp", "/etc/", "/sys/fs/cgroup"];
    for place in writable {
        if stage.daemon.given && matches!(place, "/run" | "/var/tmp") {
            // Podman lays memory there.
            continue;
        }
        assert!(expected.iter().any(|start| place.starts_with(start)), "{place} can be written to");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_do_not_see_each_other_and_orphans_are_reaped() {
    let stage = Stage::new().await;
    let (actor, one, other) = (stage.actor(), spec(), spec());
    actor.begin(&one).await;
    actor.begin(&other).await;
    actor.save(&one.id, "secret", b"of one").await;
    let listening = actor.shell(&one.id, "setsid sleep 345 >/dev/null 2>&1 & echo $!").await;
    assert_eq!(listening.outcome.exit_code, 0, "{listening:?}");
    let seen = actor.told(&other.id, &["ps", "-e", "-o", "args="]).await;
    assert!(!seen.contains("345"), "{seen}");
    assert_ne!(actor.run(&other.id, &["cat", "secret"]).await.outcome.exit_code, 0);
    // Left by their parents at once, and dead a moment later.
    actor.shell(&other.id, "for i in 1 2 3 4 5; do (setsid bash -c 'sleep 0.05' >/dev/null 2>&1 &) ; done").await;
    crate::actor::until("no dead process is left", async || {
        let states = actor.told(&other.id, &["ps", "-e", "-o", "stat="]).await;
        !states.contains('Z')
    })
    .await;
}
