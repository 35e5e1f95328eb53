//! The three hosts and the two links between them.
//!
//! ```text
//!  client 10.203.0.2, one more per client      proxy 10.203.0.1 | 10.204.0.1      origin 10.204.0.2
//!     toproxy ============ link ============ toclient | toorigin ====== link ====== toproxy
//! ```
//!
//! A bad link goes through the emulator, a good one is a veth pair: no loss, no limit, some microseconds.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    process::Stdio,
};

use anyhow::{Context, Result, bail};

use crate::{
    link::{
        emulator::{Emulator, Passed, Sharing},
        shape::Link,
    },
    namespace::Namespace,
    sys,
};

/// The proxy's address for clients.
pub const PROXY: Ipv4Addr = Ipv4Addr::new(10, 203, 0, 1);
/// The client's address where one does for all.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 203, 0, 2);
/// The origin's address.
pub const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 204, 0, 2);

/// Where every contestant listens.
pub const PROXY_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(PROXY, 10_080));
/// Where the origin listens.
pub const ORIGIN_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(ORIGIN, 27_804));

/// The address of one client among many, counted from 0.
#[must_use]
pub fn client_address(number: usize) -> Ipv4Addr {
    let byte = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    Ipv4Addr::new(10, 203, byte(1 + number / 250), byte(1 + number % 250))
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Between client and proxy; none: a good one.
    pub client_link: Option<Link>,
    /// Between proxy and origin; none: a good one.
    pub origin_link: Option<Link>,
    /// How many addresses the client's host has, each with a line of its own; none: one address.
    pub lines: Option<usize>,
    /// The congestion control of all routes.
    pub congestion: String,
    /// Seeds loss and jitter.
    pub seed: u64,
}

/// The running network. Dropping it removes devices, namespaces and whatever runs in them.
#[derive(Debug)]
pub struct Network {
    client_emulator: Option<Emulator>,
    origin_emulator: Option<Emulator>,
    /// Where the clients run.
    pub client: Namespace,
    /// Where the proxy runs.
    pub proxy: Namespace,
    /// Where the origin runs.
    pub origin: Namespace,
}

impl Network {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// No root, no `ip`, no TUN, or a congestion control the kernel does not have.
    pub fn build(layout: &Layout) -> Result<Self> {
        let client = Namespace::create("client")?;
        let proxy = Namespace::create("proxy")?;
        let origin = Namespace::create("origin")?;
        let sharing = if layout.lines.is_some() {
            Sharing::PerAddress
        } else {
            Sharing::Shared
        };
        let client_emulator = join(
            (&client, "toproxy"),
            (&proxy, "toclient"),
            layout.client_link.as_ref(),
            sharing,
            layout.seed,
        )?;
        let origin_emulator = join(
            (&proxy, "toorigin"),
            (&origin, "toproxy"),
            layout.origin_link.as_ref(),
            Sharing::Shared,
            layout.seed ^ 0x6f72_6967,
        )?;
        let congestion = layout.congestion.as_str();
        address(&client, "toproxy", &[CLIENT], 16, congestion)?;
        address(&proxy, "toclient", &[PROXY], 16, congestion)?;
        address(
            &proxy,
            "toorigin",
            &[Ipv4Addr::new(10, 204, 0, 1)],
            24,
            congestion,
        )?;
        address(&origin, "toproxy", &[ORIGIN], 24, congestion)?;
        if let Some(lines) = layout.lines {
            let more: Vec<_> = (0..lines).map(client_address).collect();
            add_addresses(&client, "toproxy", &more)?;
        }
        Ok(Self {
            client_emulator,
            origin_emulator,
            client,
            proxy,
            origin,
        })
    }

    /// What passed between client and proxy; none where the link is good.
    #[must_use]
    pub fn client_link(&self) -> Option<Passed> {
        self.client_emulator.as_ref().map(Emulator::passed)
    }

    /// What passed between proxy and origin; none where the link is good.
    #[must_use]
    pub fn origin_link(&self) -> Option<Passed> {
        self.origin_emulator.as_ref().map(Emulator::passed)
    }

    /// Whether an emulator ended by itself.
    #[must_use]
    pub fn broken(&self) -> bool {
        [&self.client_emulator, &self.origin_emulator]
            .into_iter()
            .flatten()
            .any(Emulator::died)
    }
}

type End<'a> = (&'a Namespace, &'static str);

fn join(
    a: End<'_>,
    b: End<'_>,
    link: Option<&Link>,
    sharing: Sharing,
    seed: u64,
) -> Result<Option<Emulator>> {
    let Some(link) = link else {
        a.0.ip(&format!(
            "link add {} type veth peer name {} netns {}",
            a.1,
            b.1,
            b.0.name()
        ))?;
        a.0.ip(&format!("link set dev {} up", a.1))?;
        b.0.ip(&format!("link set dev {} up", b.1))?;
        return Ok(None);
    };
    let tun = |end: End<'_>| -> Result<std::fs::File> {
        let name = end.1;
        let file = end.0.inside(move || sys::open_tun(name))?.context(
            "making a TUN device: this needs root and /dev/net/tun (in a container: --cap-add NET_ADMIN --device /dev/net/tun)",
        )?;
        end.0.ip(&format!(
            "link set dev {name} mtu {} txqueuelen 20000 up",
            link.mtu
        ))?;
        Ok(file)
    };
    Ok(Some(Emulator::start(
        tun(a)?,
        tun(b)?,
        link,
        sharing,
        seed,
    )?))
}

/// Gives a device its addresses and the only route over it, which carries the congestion control: inside a namespace
/// the sysctl is refused by some kernels.
fn address(
    host: &Namespace,
    device: &str,
    addresses: &[Ipv4Addr],
    prefix: u8,
    congestion: &str,
) -> Result<()> {
    let first = addresses.first().context("no address")?;
    host.ip(&format!(
        "addr add {first}/{prefix} dev {device} noprefixroute"
    ))?;
    let [a, b, ..] = first.octets();
    host.ip(&format!(
        "route add {a}.{b}.0.0/{prefix} dev {device} src {first} congctl {congestion}"
    ))?;
    Ok(())
}

fn add_addresses(host: &Namespace, device: &str, addresses: &[Ipv4Addr]) -> Result<()> {
    let mut lines = String::new();
    for address in addresses {
        writeln!(lines, "addr add {address}/32 dev {device} noprefixroute")?;
    }
    let mut child = std::process::Command::new("ip")
        .args(["-n", host.name(), "-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("ip -batch")?;
    child
        .stdin
        .take()
        .context("ip has no input")?
        .write_all(lines.as_bytes())?;
    if !child.wait()?.success() {
        bail!("ip -batch could not add {} addresses", addresses.len());
    }
    Ok(())
}
