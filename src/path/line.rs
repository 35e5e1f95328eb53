//! The quality of a client's TCP connection: measured while a response is sent, and the socket options that follow from it.

use std::{
    io,
    net::IpAddr,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::{tcp, transport::Transport};
use crate::{
    reloadable::reloadable,
    traffic::{
        line::{self, Look},
        published::Published,
        quality::Class,
    },
    units::OutOfRange,
};

/// `[lines]`: socket options for a client connection of class poor or worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Congestion control algorithm; empty: the system's default.
    pub congestion: String,
    /// The most unsent bytes in the kernel (TCP_NOTSENT_LOWAT).
    #[serde(with = "crate::units::sized")]
    pub notsent: ByteSize,
    /// How often TCP_INFO is read while a response is sent.
    #[serde(with = "humantime_serde")]
    pub look: Duration,
}

reloadable!(Settings {
    congestion: NextConnection,
    notsent: NextConnection,
    look: NextConnection,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let name = &self.congestion;
        let fits = name.len() < 16
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        OutOfRange::unless(fits, "lines.congestion", "a name like bbr, or empty", name)?;
        let sizes = 4 * 1024..=16 * 1024 * 1024;
        OutOfRange::unless(
            sizes.contains(&self.notsent.as_u64()),
            "lines.notsent",
            "4KiB to 16MiB",
            self.notsent,
        )?;
        let (least, most) = (Duration::from_millis(10), Duration::from_secs(60));
        OutOfRange::unless_between("lines.look", least, self.look, most)
    }
}

/// Measures one client's connection and sets the socket options for its class. It is counted in its class while this lives.
#[derive(Debug)]
pub struct ClientLine {
    line: line::Line,
    settings: Arc<Settings>,
    published: Arc<Published>,
    /// The client's address.
    address: IpAddr,
    looked: Option<Instant>,
    /// The congestion control algorithm to restore; set while another one is in use.
    before: Option<Vec<u8>>,
}

impl ClientLine {
    /// For a new connection of a client with this address, which starts with the class that others of its network had. If that is
    /// poor and `follow` is set, its options are set before the first byte.
    pub fn new(
        settings: Arc<Settings>,
        published: Arc<Published>,
        address: IpAddr,
        io: &mut Transport,
        follow: bool,
    ) -> Self {
        let class = published.lines.class(address, Instant::now());
        published.clients.by_class[class as usize].up();
        let mut line = ClientLine {
            line: line::Line::of(class),
            settings,
            published,
            address,
            looked: None,
            before: None,
        };
        if follow {
            line.follow_class(io, class);
        }
        // The kernel knows the round trip of the handshake.
        line.look(io, follow);
        line
    }

    /// The class, as last measured or remembered.
    pub fn class(&self) -> Class {
        self.line.class()
    }

    /// Reads TCP_INFO, at most once per `lines.look`. If the class changed and `follow` is set, adapts congestion control and
    /// TCP_NOTSENT_LOWAT. Returns the class, as last measured.
    pub fn look(&mut self, io: &mut Transport, follow: bool) -> Class {
        let now = Instant::now();
        let next = self
            .looked
            .map_or(now, |looked| looked + self.settings.look);
        if now >= next {
            self.looked = Some(now);
            self.measure(io, follow);
        }
        self.line.class()
    }

    fn measure(&mut self, io: &mut Transport, follow: bool) {
        let Ok(info) = tcp::info(io.tcp()) else {
            return;
        };
        let look = Look {
            // The smoothed one grows with the queue: a thousand clients on a busy machine would all seem far away.
            round_trip: info.round_trip().min(info.least_round_trip() * 3 / 2),
            segments: info.sent(),
            lost: info.sent_again(),
        };
        let before = self.line.class();
        let Some(class) = self.line.observe(look) else {
            return;
        };
        self.published.clients.by_class[before as usize].down();
        self.published.clients.by_class[class as usize].up();
        if follow {
            self.follow_class(io, class);
        }
    }

    fn follow_class(&mut self, io: &mut Transport, class: Class) {
        io.set_small_records(class >= Class::Poor);
        if let Err(error) = self.follow(io.tcp(), class) {
            tracing::debug!(%error, %class, "a client's socket does not follow its class");
        }
    }

    fn follow(&mut self, socket: &impl AsFd, class: Class) -> io::Result<()> {
        let socket = SockRef::from(socket);
        if class >= Class::Poor {
            if self.before.is_some() {
                return Ok(());
            }
            socket.set_tcp_notsent_lowat(
                u32::try_from(self.settings.notsent.as_u64()).unwrap_or(u32::MAX),
            )?;
            let wanted = self.settings.congestion.as_bytes();
            let present = socket.tcp_congestion()?;
            if wanted.is_empty() || name(&present) == wanted {
                return Ok(());
            }
            socket.set_tcp_congestion(wanted)?;
            self.published.clients.congestion_switches.increment();
            self.before = Some(name(&present).to_vec());
        } else if let Some(before) = self.before.take() {
            socket.set_tcp_congestion(&before)?;
            // Zero restores the system's default.
            socket.set_tcp_notsent_lowat(0)?;
        }
        Ok(())
    }
}

impl Drop for ClientLine {
    fn drop(&mut self) {
        let class = self.line.class();
        self.published.clients.by_class[class as usize].down();
        // What was only taken over from the network's last connection, and not seen again, is not kept for longer by that.
        let last = self.line.last();
        if last.segments > 0 && last.class() >= class {
            let lines = &self.published.lines;
            lines.remember(self.address, class, Instant::now());
        }
    }
}

/// The name without the kernel's padding of zeros.
fn name(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}
