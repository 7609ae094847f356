//! A socket that listens inside a workspace and belongs to the server.

use std::fs::{File, Metadata};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::ProcessMark;

/// Where the proxy is reached inside.
pub(super) const PROXY_INSIDE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3128);

/// Listens in the network namespace of a process. Takes root.
///
/// A thread of its own goes there, because a thread that has changed its namespace is of no other use. Sockets stay where
/// they were made, so the listener can be used from anywhere.
pub(crate) fn listen(init: ProcessMark) -> io::Result<TcpListener> {
    let network = File::open(format!("/proc/{}/ns/net", init.pid()))?;
    if !init.runs() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    if same_file(&network.metadata()?, &std::fs::metadata("/proc/self/ns/net")?) {
        return Err(io::Error::other("the workspace has no network of its own"));
    }
    let inside = move || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        TcpListener::bind(PROXY_INSIDE)
    };
    let thread = std::thread::Builder::new().name("reeve-egress".to_owned()).spawn(inside)?;
    thread.join().map_err(|_| io::Error::other("the thread that should listen inside broke off"))?
}

fn same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
