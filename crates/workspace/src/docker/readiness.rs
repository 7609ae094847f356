//! What the driver finds on this machine, for `reeve doctor`.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use reeve_gate::workspace::Readiness;

use super::Inner;
use super::engine::Known;
use super::failure;

pub(super) async fn look(inner: &Inner) -> Vec<Readiness> {
    let known = match inner.engine.look_again().await {
        Ok(known) => known,
        Err(error) => return vec![missing("engine of containers", &error.message)],
    };
    let mut all = vec![engine(inner, &known), program(&inner.options.runtime), seccomp(&known), limits(&known)];
    all.extend(other_runtime(inner, &known));
    all.extend(images(inner, &known).await);
    all
}

fn engine(inner: &Inner, known: &Known) -> Readiness {
    let about = &known.about;
    let how = if about.rootless { ", without root" } else { "" };
    let detail = format!("{} {} on {}{how}", about.name(), about.version, inner.engine.address());
    if about.rootless && !about.podman {
        let said = format!(
            "{detail}: its users inside cannot share sockets with this server; run Docker as root, or use Podman"
        );
        return missing("engine of containers", &said);
    }
    Readiness {
        what: "engine of containers",
        ready: true,
        needed: true,
        detail: format!("{detail}, images in {}", about.storage),
    }
}

fn program(path: &Path) -> Readiness {
    match is_static(path) {
        Ok(true) => ready("reeve-runtime", "linked statically; it runs in every image"),
        Ok(false) => Readiness {
            what: "reeve-runtime",
            ready: false,
            needed: false,
            detail: "linked against this machine's C library; it runs only in images whose C library is as new. \
                     `scripts/static-runtime` builds one that runs everywhere"
                .to_owned(),
        },
        Err(error) => missing("reeve-runtime", &format!("{} cannot be read: {error}", path.display())),
    }
}

fn seccomp(known: &Known) -> Readiness {
    let detail = if known.about.seccomp {
        "the engine filters system calls"
    } else {
        "the engine filters no system calls; start it with its default profile"
    };
    Readiness { what: "seccomp", ready: known.about.seccomp, needed: false, detail: detail.to_owned() }
}

fn limits(known: &Known) -> Readiness {
    let unlimited = &known.about.unlimited;
    let detail = if unlimited.is_empty() {
        format!("limits by {}", known.about.limits)
    } else {
        format!("the engine cannot limit {} here; see `docker info`", unlimited.join(", "))
    };
    Readiness { what: "cgroups", ready: unlimited.is_empty(), needed: false, detail }
}

fn other_runtime(inner: &Inner, known: &Known) -> Option<Readiness> {
    let wanted = inner.options.container_runtime.as_ref()?;
    Some(if known.about.runtimes.contains_key(wanted) {
        ready("container runtime", &format!("the engine knows `{wanted}`"))
    } else {
        missing("container runtime", &format!("the engine does not know `{wanted}`; add it to its daemon.json"))
    })
}

async fn images(inner: &Inner, known: &Known) -> Vec<Readiness> {
    let names: BTreeSet<&str> =
        inner.options.templates.all().filter_map(|template| template.image.as_deref()).collect();
    let mut all = Vec::new();
    for name in names {
        all.push(match known.docker.inspect_image(name).await {
            Ok(_) => ready("image", &format!("`{name}` is there")),
            Err(error) if failure::is_missing(&error) => Readiness {
                what: "image",
                ready: false,
                needed: false,
                detail: format!("`{name}` is not there; build it with `scripts/images`"),
            },
            Err(error) => missing("image", &known.failed(format!("look for {name}"), &error).message),
        });
    }
    all
}

fn ready(what: &'static str, detail: &str) -> Readiness {
    Readiness { what, ready: true, needed: false, detail: detail.to_owned() }
}

fn missing(what: &'static str, detail: &str) -> Readiness {
    Readiness { what, ready: false, needed: true, detail: detail.to_owned() }
}

/// Whether a program asks for no loader: an ELF file of 64 bits, little-endian, without `PT_INTERP`.
pub(super) fn is_static(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(4096).read_to_end(&mut head)?;
    Ok(names_no_loader(&head).unwrap_or(false))
}

fn names_no_loader(head: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let part = head.get(at..at.checked_add(bytes)?)?;
        Some(part.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    };
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let at = |index: u64| usize::try_from(table.checked_add(index.checked_mul(size)?)?).ok();
    for index in 0..count {
        if number(at(index)?, 4)? == u64::from(PT_INTERP) {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_told_from_one_without() {
        let this = std::env::current_exe().expect("this program");
        assert!(!is_static(&this).expect("readable"), "tests are linked dynamically");
        assert_eq!(names_no_loader(b"#!/bin/sh\n"), None);
    }
}
