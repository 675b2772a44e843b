//! What a process has open, as the kernel tells it: the only witness that a validator listens nowhere.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// A TCP socket of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    /// Own address.
    pub local: SocketAddr,
    /// The other end; port 0 while listening.
    pub remote: SocketAddr,
    /// True for a listening socket, false for an established connection.
    pub listening: bool,
}

/// Listening and established TCP sockets of `pid`.
pub fn of(pid: u32) -> Vec<Socket> {
    let inodes = inodes(pid);
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        sockets.extend(text.lines().skip(1).filter_map(|line| entry(line, &inodes)));
    }
    sockets
}

fn inodes(pid: u32) -> HashSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

fn entry(line: &str, inodes: &HashSet<u64>) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let listening = match *fields.get(3)? {
        "0A" => true,
        "01" => false,
        _ => return None,
    };
    let inode: u64 = fields.get(9)?.parse().ok()?;
    if !inodes.contains(&inode) {
        return None;
    }
    Some(Socket { local: address(fields[1])?, remote: address(fields[2])?, listening })
}

/// `0100007F:1F90` or 32 hex digits for IPv6; words of four bytes in the machine's order.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<u32> =
        (0..host.len() / 8).map(|word| u32::from_str_radix(&host[8 * word..8 * word + 8], 16).ok()).collect::<Option<_>>()?;
    match words[..] {
        [word] => Some((Ipv4Addr::from(word.to_ne_bytes()), port).into()),
        [_, _, _, _] => {
            let mut bytes = [0u8; 16];
            for (index, word) in words.iter().enumerate() {
                bytes[4 * index..4 * index + 4].copy_from_slice(&word.to_ne_bytes());
            }
            let v6 = Ipv6Addr::from(bytes);
            Some(match v6.to_ipv4_mapped() {
                Some(v4) => (v4, port).into(),
                None => (v6, port).into(),
            })
        }
        _ => None,
    }
}
