//! Ports on which programs of the workspace listen, as the kernel tells them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reeve_types::workspace::processes::ListeningPort;

/// State of a socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";
/// The most sockets that are looked at.
const SOCKETS_MAX: usize = 4096;

struct Listener {
    port: u16,
    address: IpAddr,
    inode: u64,
}

/// Every port that is listened on, by number. Blocks for a moment.
pub(crate) fn listening() -> Vec<ListeningPort> {
    let mut listeners = listeners("/proc/net/tcp");
    listeners.extend(self::listeners("/proc/net/tcp6"));
    let owners = owners(&listeners);
    let own = std::process::id();
    let mut ports = BTreeMap::new();
    for listener in &listeners {
        let owner = owners.get(&listener.inode);
        if owner.is_some_and(|(pid, _)| *pid == own) {
            continue;
        }
        ports.entry(listener.port).or_insert_with(|| ListeningPort {
            port: listener.port,
            address: listener.address.to_string(),
            program: owner.map(|(_, program)| program.clone()),
            pid: owner.map(|(pid, _)| *pid),
        });
    }
    ports.into_values().collect()
}

fn listeners(table: &str) -> Vec<Listener> {
    let text = fs::read_to_string(table).unwrap_or_default();
    text.lines().skip(1).filter_map(listener).take(SOCKETS_MAX).collect()
}

fn listener(line: &str) -> Option<Listener> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if words.get(3) != Some(&LISTENS) {
        return None;
    }
    let (address, port) = words.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Listener { port, address: self::address(address)?, inode: words.get(9)?.parse().ok()? })
}

/// The kernel writes addresses as words of this machine's byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0u8; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// Whose sockets these are. Processes of other users tell nothing.
fn owners(listeners: &[Listener]) -> HashMap<u64, (u32, String)> {
    let wanted: HashMap<String, u64> =
        listeners.iter().map(|listener| (format!("socket:[{}]", listener.inode), listener.inode)).collect();
    let mut owners = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if owners.len() == wanted.len() {
            break;
        }
        for handle in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(handle.path()).unwrap_or_default();
            if let Some(inode) = target.to_str().and_then(|target| wanted.get(target)) {
                owners.entry(*inode).or_insert_with(|| (pid, program(pid)));
            }
        }
    }
    owners
}

fn program(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let v4 =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0 100";
        let found = listener(v4).expect("a listener");
        assert_eq!((found.port, found.address.to_string().as_str(), found.inode), (8080, "127.0.0.1", 12345));
        let connected = v4.replace(" 0A ", " 01 ");
        assert!(listener(&connected).is_none());
        assert_eq!(address("00000000000000000000000001000000").map(|found| found.to_string()), Some("::1".to_owned()));
        assert_eq!(address("00000000"), Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    }

    #[test]
    fn what_this_program_listens_on_itself_is_no_port_of_the_workspace() {
        let own = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = own.local_addr().expect("an address").port();
        assert!(listening().iter().all(|found| found.port != port));
    }
}
