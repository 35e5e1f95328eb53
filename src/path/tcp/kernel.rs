//! Two kernel interfaces that no crate wraps completely: SIOCOUTQ, and TCP_INFO with the fields of newer kernels.
#![allow(
    unsafe_code,
    reason = "both write plain integers through valid pointers; the fd is borrowed"
)]

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

/// `struct tcp_info` of linux/tcp.h, up to the fields used here. The kernel fills what it knows and what fits; fields that an older
/// one does not know stay zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Info {
    state: [u8; 8],
    rto_us: u32,
    ato_us: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent_ms: u32,
    last_ack_sent_ms: u32,
    last_data_recv_ms: u32,
    last_ack_recv_ms: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt_us: u32,
    rttvar_us: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt_us: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt_us: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
    busy_time_us: u64,
    rwnd_limited_us: u64,
    sndbuf_limited_us: u64,
    delivered: u32,
    delivered_ce: u32,
    bytes_sent: u64,
    bytes_retrans: u64,
    dsack_dups: u32,
    reord_seen: u32,
    rcv_ooopack: u32,
    snd_wnd: u32,
}

impl Info {
    /// Of a listening socket: connections that wait in the accept queue. The kernel reports it in this field.
    pub fn backlog(&self) -> u32 {
        self.unacked
    }

    /// Smoothed round-trip time.
    pub fn round_trip(&self) -> Duration {
        Duration::from_micros(self.rtt_us.into())
    }

    /// Lowest round-trip time seen.
    pub fn least_round_trip(&self) -> Duration {
        Duration::from_micros(self.min_rtt_us.into())
    }

    /// Data segments sent, with retransmissions.
    pub fn sent(&self) -> u64 {
        self.data_segs_out.into()
    }

    /// Segments retransmitted, without those that the receiver reported to have got twice (RFC 3708): they were late and not lost.
    pub fn sent_again(&self) -> u64 {
        self.total_retrans.saturating_sub(self.dsack_dups).into()
    }

    /// Data segments received.
    pub fn received(&self) -> u64 {
        self.data_segs_in.into()
    }

    /// Segments received out of order, behind a gap that a lost one left.
    pub fn received_out_of_order(&self) -> u64 {
        self.rcv_ooopack.into()
    }

    /// Recent delivery rate, in bytes per second.
    pub fn delivery_rate(&self) -> u64 {
        self.delivery_rate
    }
}

pub(super) fn info(fd: BorrowedFd<'_>) -> io::Result<Info> {
    let mut info = Info::default();
    let mut len = mem::size_of::<Info>() as libc::socklen_t;
    // SAFETY: the fd is open while borrowed; the kernel writes at most `len` bytes into `info`, whose fields are all
    // integers, so that any bytes are valid.
    let answer = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info)
}

pub(super) fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the fd is open while borrowed, and TIOCOUTQ (SIOCOUTQ for sockets) writes one c_int.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsFd as _,
    };

    use super::*;

    #[test]
    fn what_came_twice_was_not_lost() {
        let info = |total_retrans, dsack_dups| Info {
            total_retrans,
            dsack_dups,
            ..Info::default()
        };
        assert_eq!(info(9, 0).sent_again(), 9);
        assert_eq!(info(9, 7).sent_again(), 2);
        // A packet that the network doubled.
        assert_eq!(info(0, 1).sent_again(), 0);
    }

    #[test]
    fn the_fields_lie_where_the_kernel_writes_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[7; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        let (sender, receiver) = (info(client.as_fd()).unwrap(), info(server.as_fd()).unwrap());
        assert_eq!((sender.data_segs_out, receiver.data_segs_in), (1, 1));
        assert_eq!((sender.bytes_sent, receiver.bytes_received), (1000, 1000));
        assert!(sender.rtt_us > 0 && sender.snd_cwnd > 0 && sender.snd_wnd > 0);
        assert_eq!((sender.bytes_retrans, receiver.rcv_ooopack), (0, 0));
    }
}
