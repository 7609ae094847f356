//! The way to the network: a proxy of Reeve's own for each workspace that was given leave.
//!
//! The workspace's network has a loopback and nothing else. Its programs speak to `127.0.0.1:3128`: a listening socket
//! that belongs to this process although it was made inside. The proxy resolves names itself, holds the address that it is
//! about to connect to against the rules, and connects to exactly that address. A name that resolves to something else a
//! moment later gains nothing.

mod addresses;
mod inside;
mod proxy;
mod rules;

pub(super) use inside::{PROXY_INSIDE, listen};
pub(super) use proxy::Proxy;
pub(super) use rules::Rules;
