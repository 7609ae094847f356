//! The driver `namespace` on real bubblewrap.

use crate::contract;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_keeps_the_contract() {
    let stage = Stage::new().await;
    contract::holds(&stage.driver).await;
}
