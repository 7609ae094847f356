//! Volumes: made with an end where the engine can set one, found by their labels, removed for good.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};
use reeve_types::workspace::WorkspaceSpec;
use reeve_types::{WorkspaceError, WorkspaceId};

use super::Inner;
use super::engine::Known;
use super::failure::{self, unknown, unless_missing};
use super::labels::{self, Names, Role};

/// The volume with the files of a workspace.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// Its name.
    pub(super) name: String,
    /// The image that works on it.
    pub(super) image: String,
    /// How it ends: `kernel` or `swept`.
    pub(super) disk: String,
    /// Where the engine keeps it on its machine.
    pub(super) mountpoint: String,
    labels: HashMap<String, String>,
}

impl Files {
    fn read(volume: Volume) -> Self {
        let label = |key: &str| volume.labels.get(key).cloned().unwrap_or_default();
        Self {
            image: label(labels::IMAGE),
            disk: label(labels::DISK),
            name: volume.name,
            mountpoint: volume.mountpoint,
            labels: volume.labels,
        }
    }
}

impl Files {
    /// The volume with the home directory of the same workspace.
    pub(super) fn home(&self) -> String {
        format!("{}-home", self.name.strip_suffix("-ws").unwrap_or(&self.name))
    }
}

impl Inner {
    /// Where the engine keeps what a workspace may write: its files and its home directory.
    pub(super) async fn places(&self, known: &Known, files: &Files) -> Result<[PathBuf; 2], WorkspaceError> {
        let home = known.docker.inspect_volume(&files.home()).await;
        let home = home.map_err(|error| known.failed("look at a volume", &error))?;
        Ok([PathBuf::from(&files.mountpoint), PathBuf::from(home.mountpoint)])
    }

    /// The volumes of a new workspace. Those that are there already stay.
    pub(super) async fn make_volumes(
        &self,
        known: &Known,
        spec: &WorkspaceSpec,
        image: &str,
    ) -> Result<Files, WorkspaceError> {
        let names = Names::of(&self.options.prefix, spec);
        let mut labels = labels::of_spec(&self.options.prefix, &self.layout.installation(), spec);
        labels.insert(labels::IMAGE.to_owned(), image.to_owned());
        labels.insert(labels::VOLUME.to_owned(), names.files());
        let limit = Some(spec.limits.disk_bytes);
        let files = self.make_volume(known, names.files(), Role::Files, labels.clone(), limit).await?;
        self.make_volume(known, names.home(), Role::Home, labels, limit).await?;
        Ok(files)
    }

    /// A volume for a copy of another one.
    pub(super) async fn make_copy_of(
        &self,
        known: &Known,
        files: &Files,
        name: String,
        snapshot: &str,
    ) -> Result<Files, WorkspaceError> {
        let mut labels = files.labels.clone();
        labels.insert(labels::SNAPSHOT.to_owned(), snapshot.to_owned());
        self.make_volume(known, name, Role::Snapshot, labels, None).await
    }

    async fn make_volume(
        &self,
        known: &Known,
        name: String,
        role: Role,
        mut labels: HashMap<String, String>,
        limit: Option<u64>,
    ) -> Result<Files, WorkspaceError> {
        labels.insert(labels::ROLE.to_owned(), role.as_str().to_owned());
        let request = |limit: Option<u64>| {
            let mut labels = labels.clone();
            let disk = if limit.is_some() { "kernel" } else { "swept" };
            labels.insert(labels::DISK.to_owned(), disk.to_owned());
            let options = limit.map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())]));
            let name = Some(name.clone());
            VolumeCreateRequest { name, driver_opts: options, labels: Some(labels), ..VolumeCreateRequest::default() }
        };
        // Podman takes any option, and finds out when it mounts the volume.
        let limit = limit.filter(|_| !known.about.podman && !self.unlimited_volumes.load(Ordering::Relaxed));
        let made = match known.docker.create_volume(request(limit)).await {
            Err(error) if limit.is_some() && failure::status(&error).is_some() => {
                let plain = known.docker.create_volume(request(None)).await;
                if plain.is_ok() && !self.unlimited_volumes.swap(true, Ordering::Relaxed) {
                    tracing::info!(%error, "volumes have no end here; their size is looked at now and then");
                }
                plain
            }
            other => other,
        };
        made.map(Files::read).map_err(|error| known.failed("make a volume", &error))
    }

    /// The volume with the files of a workspace.
    pub(super) async fn files_of(&self, known: &Known, workspace: &WorkspaceId) -> Result<Files, WorkspaceError> {
        self.find_files(known, workspace).await?.ok_or_else(|| unknown(workspace))
    }

    pub(super) async fn find_files(
        &self,
        known: &Known,
        workspace: &WorkspaceId,
    ) -> Result<Option<Files>, WorkspaceError> {
        let wanted = [(labels::WORKSPACE, workspace.as_str()), (labels::ROLE, Role::Files.as_str())];
        Ok(self.list_volumes(known, &wanted).await?.into_iter().next().map(Files::read))
    }

    /// Volumes of this installation with these labels.
    pub(super) async fn list_volumes(
        &self,
        known: &Known,
        wanted: &[(&str, &str)],
    ) -> Result<Vec<Volume>, WorkspaceError> {
        let installation = self.layout.installation();
        let wanted: Vec<_> = wanted.iter().copied().chain([(labels::INSTALLATION, installation.as_str())]).collect();
        let options = ListVolumesOptions { filters: Some(labels::filter(&wanted)) };
        let listed = known.docker.list_volumes(Some(options)).await;
        let listed = listed.map_err(|error| known.failed("list volumes", &error))?.volumes.unwrap_or_default();
        Ok(listed.into_iter().filter(|volume| labels::carries(&volume.labels, &wanted)).collect())
    }

    /// Removes every volume of a workspace: files, home and snapshots.
    pub(super) async fn remove_volumes(&self, known: &Known, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        for volume in self.list_volumes(known, &[(labels::WORKSPACE, workspace.as_str())]).await? {
            remove_volume(known, &volume.name).await?;
        }
        Ok(())
    }
}

/// Removes a volume. One that is not there is fine.
pub(super) async fn remove_volume(known: &Known, name: &str) -> Result<(), WorkspaceError> {
    let removed = known.docker.remove_volume(name, None::<RemoveVolumeOptions>).await;
    unless_missing(removed).map_err(|error| known.failed(format!("remove the volume {name}"), &error))
}
