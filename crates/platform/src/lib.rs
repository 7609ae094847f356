//! What Reeve does, between the ways in and the gate.
//!
//! [`Platform`] is the one handle that ways in hold. It knows who may do what ([`identity`]), what can be acted on
//! ([`inventory`]), which policies are in force ([`policies`]), how questions to people are settled ([`approvals`]), how
//! a question in words is routed without a model ([`routing`]), and who is told of what ([`notify`]). It never touches
//! the world itself: acts go through the gate.

pub mod accounts;
pub mod actions;
pub mod answer_links;
pub mod approvals;
pub mod backup;
pub mod clusters;
pub mod difference;
pub mod explain;
pub mod identity;
pub mod inventory;
pub mod journeys;
pub mod latency;
pub mod notify;
pub mod permissions;
pub mod policies;
pub mod routing;
pub mod sessions;
pub mod socket;
pub mod tenants;
pub mod workspaces;

mod platform;

pub use identity::{Caller, IdentityError, IdentityProvider};
pub use permissions::Permission;
pub use platform::{Platform, PlatformError, PlatformOptions, PlatformParts};
