//! The contract of every driver.

use crate::contract::contract;
use crate::stage::Stage;

contract!(Stage::new);
