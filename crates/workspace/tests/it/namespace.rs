//! The driver `namespace` on real bubblewrap, held to the contract of every driver.

use reeve_gate::workspace::WorkspaceDriver;
use reeve_workspace::NamespaceDriver;

use crate::contract::{Ground, contract};
use crate::stage::Stage;

impl Ground for Stage {
    fn driver(&self) -> &dyn WorkspaceDriver {
        &self.driver
    }

    async fn next_server(&self) -> Box<dyn WorkspaceDriver> {
        Box::new(NamespaceDriver::open(self.options.clone()).await.expect("the next server opens"))
    }

    async fn traces(&self) -> Vec<String> {
        self.traces()
    }
}

contract!(Stage::new);
