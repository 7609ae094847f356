//! What a server does about what the one before it left, and what it takes away itself when it is closed.

use std::collections::HashSet;
use std::sync::Arc;

use reeve_types::WorkspaceError;
use rustix::process::Signal;

use super::boxes::Held;
use super::claims::CLAIM;
use super::failure::{aside, cannot};
use super::lifecycle::ENDS_WHEN_KILLED;
use super::record::Record;
use super::{NamespaceDriver, disk, jail, removing, system};
use crate::process;
use crate::process::ProcessMark;

impl NamespaceDriver {
    /// Takes up what an earlier server left: boxes that run go on, half-made and half-removed ones go.
    pub(super) async fn take_up(&self) -> Result<(), WorkspaceError> {
        let inner = &self.0;
        let entries = std::fs::read_dir(inner.layout.boxes())
            .map_err(|error| cannot("look at the workspaces that are there", &error))?;
        self.end_unrecorded().await;
        let mut keys = HashSet::new();
        for entry in entries.flatten() {
            let Ok(key) = entry.file_name().into_string() else { continue };
            match Record::read(&inner.layout.record(&key)) {
                Ok(record) => {
                    if let Some(uid) = record.uid {
                        inner.users.keep(uid);
                    }
                    self.take_up_box(Held::new(key.clone(), record)).await;
                    keys.insert(key);
                }
                Err(error) => {
                    tracing::warn!(key, %error, "a workspace that was never finished is removed");
                    self.remove_remains(&key).await;
                }
            }
        }
        self.remove_strange_groups(&keys).await;
        self.remove_strange_mounts(&keys).await;
        Ok(())
    }

    /// A start that was cut off may have left processes before their numbers were written down.
    async fn end_unrecorded(&self) {
        let layout = &self.0.layout;
        let marked = process::marked(jail::MARK, &format!("{}/", layout.installation()));
        let unrecorded: Vec<ProcessMark> = marked
            .into_iter()
            .filter(|(key, mark)| {
                let recorded = Record::read(&layout.record(key)).ok().and_then(|record| record.processes);
                !recorded.is_some_and(|known| known.monitor == *mark || known.init == *mark)
            })
            .map(|(_, mark)| mark)
            .collect();
        for mark in &unrecorded {
            mark.signal(Signal::KILL);
        }
        for mark in unrecorded {
            mark.ended_within(ENDS_WHEN_KILLED).await;
        }
    }

    async fn take_up_box(&self, held: Held) {
        let inner = &self.0;
        let record = held.record();
        let keep = record.spec.clone().filter(|_| record.laid_out && !record.removing);
        let Some(spec) = keep else {
            if let Err(error) = inner.discard(&held).await {
                tracing::warn!(key = held.key, %error, "what a crash left of a workspace cannot be removed yet");
            }
            return;
        };
        let held = Arc::new(held);
        if held.running().is_some() && record.started {
            if let Err(error) = inner.open_egress(&held, &spec) {
                tracing::warn!(workspace = %spec.id, %error, "a workspace lost its way to the network; restart it");
            }
        } else {
            let rested = async {
                inner.end(&held, false).await?;
                inner.detach(&held).await
            };
            if let Err(error) = rested.await {
                tracing::warn!(workspace = %spec.id, %error, "what runs of a workspace cannot be ended");
            }
        }
        if inner.boxes.add(&spec.id, Arc::clone(&held)).is_err() {
            tracing::warn!(workspace = %spec.id, "a second box of a workspace is removed");
            if let Err(error) = inner.discard(&held).await {
                tracing::warn!(workspace = %spec.id, %error, "it cannot be removed yet");
            }
        }
    }

    /// A directory without a readable record: there was no time to write it, so nothing was started in it.
    async fn remove_remains(&self, key: &str) {
        let (layout, key) = (self.0.layout.clone(), key.to_owned());
        let removed = aside(move || {
            disk::unmount(&layout.inside(&key)).map_err(|error| cannot("unmount it", &error))?;
            for directory in [layout.reached(&key), layout.own(&key)] {
                removing::remove(&directory).map_err(|error| cannot("remove it", &error))?;
            }
            Ok(())
        })
        .await;
        if let Err(error) = removed {
            tracing::warn!(%error, "what is left of a workspace stays until the next start");
        }
    }

    async fn remove_strange_groups(&self, keys: &HashSet<String>) {
        let Some(groups) = &self.0.cgroups else { return };
        for name in groups.names().into_iter().filter(|name| !keys.contains(name)) {
            for mark in groups.processes(&name).into_iter().filter_map(ProcessMark::of) {
                mark.signal(Signal::KILL);
            }
            if let Err(error) = groups.remove(&name, ENDS_WHEN_KILLED).await {
                tracing::warn!(%error, "a control group that is nobody's cannot be removed");
            }
        }
    }

    async fn remove_strange_mounts(&self, keys: &HashSet<String>) {
        let (layout, keys) = (self.0.layout.clone(), keys.clone());
        let shared = [system::ETC, system::PROGRAMS, CLAIM];
        let removed = aside(move || {
            for entry in std::fs::read_dir(&layout.reach).into_iter().flatten().flatten() {
                let Ok(name) = entry.file_name().into_string() else { continue };
                if keys.contains(&name) || shared.contains(&name.as_str()) {
                    continue;
                }
                disk::unmount(&layout.inside(&name)).map_err(|error| cannot("unmount it", &error))?;
                removing::remove(&entry.path()).map_err(|error| cannot("remove it", &error))?;
            }
            Ok(())
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "a mount that is nobody's stays until the next start");
        }
    }

    /// Takes away what no running workspace needs.
    pub(super) async fn take_down_unused(&self) {
        let inner = &self.0;
        let mut running = false;
        for (workspace, held) in inner.boxes.all() {
            let _busy = held.busy.lock().await;
            if held.running().is_some() && held.record().started {
                running = true;
                if let Some(proxy) = held.take_proxy() {
                    proxy.end().await;
                }
                continue;
            }
            let rested = async {
                inner.end(&held, false).await?;
                inner.detach(&held).await
            };
            if let Err(error) = rested.await {
                tracing::warn!(%workspace, %error, "a workspace that rests stays mounted");
            }
        }
        // Another server over the same data, begun already, needs what is there.
        if !running && inner.claim.is_the_only_one() {
            if let Some(groups) = &inner.cgroups {
                groups.remove_parents();
            }
            let layout = inner.layout.clone();
            let taken_down = aside(move || {
                system::take_down(&layout.reach);
                Ok(())
            });
            if let Err(error) = taken_down.await {
                tracing::warn!(%error, "what workspaces see of this machine stays mounted");
            }
        }
        inner.claim.give_up();
    }
}
