//! What every driver must do, whatever it is made of. A driver's own tests call [`holds`] with the driver.

use reeve_gate::workspace::WorkspaceDriver;

use crate::stage::{Actor, spec};

/// Holds one driver to the whole contract, one promise after another.
pub async fn holds(driver: &dyn WorkspaceDriver) {
    let actor = Actor::new(driver);
    it_runs_what_it_is_told(&actor).await;
}

async fn it_runs_what_it_is_told(actor: &Actor<'_>) {
    let spec = spec();
    actor.begin(&spec).await;
    let ran = actor.run(&spec.id, &["echo", "hello"]).await;
    assert_eq!((ran.stdout.as_str(), ran.outcome.exit_code), ("hello\n", 0), "{ran:?}");
    actor.delete(&spec.id, true).await.expect("deleted");
}
