//! Kubernetes: finding a cluster the way `kubectl` does, and looking at it over its API.
//!
//! [`kubeconfig`] finds out where a cluster is and who we are there, [`client`] asks its API server under limits and
//! says in words why it did not answer, [`objects`] holds of its objects what is read, and [`tools`] are the tools of
//! the `k8s` agent. No `kubectl` is started, and no program that a kubeconfig names.

pub mod client;
pub mod kubeconfig;
pub mod objects;
pub mod tools;
