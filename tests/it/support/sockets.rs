//! The sockets of this process, found by their addresses: what the kernel says of them is what counts.

#![allow(
    unsafe_code,
    reason = "an fd read from /proc is borrowed only to duplicate it; one that is gone by then is an error"
)]

use std::{
    fs,
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
};

use socket2::Socket;

/// A socket of this process between these two ends, if there is one.
pub fn between(local: Option<SocketAddr>, peer: SocketAddr) -> Option<Socket> {
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(duplicate)
        .find(|socket| {
            let end = |address: std::io::Result<socket2::SockAddr>| address.ok()?.as_socket();
            end(socket.peer_addr()) == Some(peer)
                && local.is_none_or(|local| end(socket.local_addr()) == Some(local))
        })
}

fn duplicate(fd: i32) -> Option<Socket> {
    if !fs::read_link(format!("/proc/self/fd/{fd}"))
        .ok()?
        .to_str()?
        .starts_with("socket:")
    {
        return None;
    }
    // SAFETY: the fd was open a moment ago; if it is closed by now, duplicating it fails.
    let owned: OwnedFd = unsafe { BorrowedFd::borrow_raw(fd) }
        .try_clone_to_owned()
        .ok()?;
    Some(owned.into())
}
