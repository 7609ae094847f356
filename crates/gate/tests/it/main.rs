//! The gate over the real store: what is recorded, in which order, and what is never carried out.

mod approvals;
mod interruptions;
mod paths;
mod refusals;
mod stress;
mod support;
