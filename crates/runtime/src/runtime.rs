//! Everything that the runtime has, for the routes.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::activity::Activity;
use crate::config::Config;
use crate::executions::Executions;
use crate::files::Files;
use crate::hardening::Hardening;
use crate::memory::OutOfMemory;
use crate::pipes::Pipes;
use crate::place::Place;
use crate::preview::Preview;
use crate::supervise::Supervisors;
use crate::terminals::Terminals;

/// Searches and archives at once: each takes a thread while it lasts.
const WALKS_MAX: usize = 6;
/// Watchers at once.
const WATCHERS_MAX: usize = 16;

/// One workspace, from the inside.
pub(crate) struct Runtime {
    pub(crate) config: Config,
    pub(crate) hardening: Hardening,
    pub(crate) files: Files,
    pub(crate) place: Arc<Place>,
    pub(crate) supervisors: Arc<Supervisors>,
    pub(crate) executions: Executions,
    pub(crate) terminals: Terminals,
    pub(crate) pipes: Pipes,
    pub(crate) preview: Option<Arc<Preview>>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) walks: Arc<Semaphore>,
    pub(crate) watchers: Arc<Semaphore>,
}

impl Runtime {
    /// Opens the root and starts nothing.
    pub(crate) fn new(config: Config, hardening: Hardening) -> io::Result<Self> {
        let place = Arc::new(Place::open(&config.root)?);
        let supervisors = Arc::new(Supervisors::default());
        let activity = Arc::new(Activity::new());
        let environment = config.environment.clone();
        let executions = Executions::new(
            Arc::clone(&place),
            Arc::clone(&supervisors),
            environment.clone(),
            OutOfMemory::new(&config.cgroups),
            Arc::clone(&activity),
        );
        let preview = config.preview.clone().map(|preview| {
            Arc::new(Preview::new(preview, Arc::clone(&place), Arc::clone(&supervisors), environment.clone()))
        });
        let pipes =
            Pipes::new(Arc::clone(&place), Arc::clone(&supervisors), environment.clone(), Arc::clone(&activity));
        let terminals =
            Terminals::new(Arc::clone(&place), Arc::clone(&supervisors), environment, Arc::clone(&activity));
        Ok(Self {
            files: Files::open(&config.root)?,
            config,
            hardening,
            place,
            supervisors,
            executions,
            terminals,
            pipes,
            preview,
            activity,
            walks: Arc::new(Semaphore::new(WALKS_MAX)),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        })
    }
}
