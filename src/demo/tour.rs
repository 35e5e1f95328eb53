//! What `fileproxy demo` prints at its start: what runs, and what to try.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{hls::MASTER, network::Network};

/// What to try, as text.
#[derive(Clone, Debug)]
pub struct Tour {
    /// The proxy's address.
    pub proxy: SocketAddr,
    /// The dashboard's URL.
    pub monitor: String,
    /// The built-in origin's address.
    pub origin: SocketAddr,
    /// The simulated network in front of it.
    pub network: Network,
    /// The token of the admin endpoint.
    pub token: String,
    /// Number of players.
    pub viewers: usize,
    /// Whether others watch through a plain proxy.
    pub plain: bool,
}

/// The URL of `addr` on this machine, without a trailing slash: 127.0.0.1 for 0.0.0.0.
pub fn base_url(addr: SocketAddr) -> String {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, addr.port()))
}

impl fmt::Display for Tour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = base_url(self.proxy);
        let origin = base_url(self.origin);
        let story = self.network.story().replace('\n', "\n           ");
        let Tour {
            network,
            monitor,
            token,
            viewers,
            ..
        } = self;
        write!(
            f,
            "\
fileproxy demo

  proxy    {proxy}
  origin   {origin}  (built in, network: {network})
           {story}
  viewers  {viewers}
  monitor  {monitor}  (a dashboard for a browser)

Try, in another terminal:

  what there is
    curl {proxy}/
  how the proxy is, and what it has measured
    curl -s {proxy}/health
    curl -s {proxy}/stats
  a download, and whether it came whole
    curl -s {proxy}/files/10MB.bin | sha256sum
    curl -s {proxy}/files/SHA256SUMS
  a part of a file
    curl -s -r 1000-1015 {proxy}/files/100MB.bin | od -A d -t x1
  a stream, in a player
    ffplay {proxy}{MASTER}
    vlc {proxy}{MASTER}
  the control group: no optimization (high puts it back)
    curl -s -X POST {proxy}/admin/optimization \\
      -H 'Authorization: Bearer {token}' \\
      -H 'Content-Type: application/json' -d '{{\"level\": \"low\"}}'
  a canary: level medium for half of the clients (100 promotes it, 0 takes it back), and how they compare
    curl -s -X POST {proxy}/admin/optimization -H 'Authorization: Bearer {token}' \
      -H 'Content-Type: application/json' -d '{{\"level\": \"medium\", \"percent\": 50}}'
    curl -s {proxy}/stats | jq .canary

"
        )?;
        if *network == Network::Good && *viewers == 0 {
            f.write_str("To see it adapt: fileproxy demo --network changing --viewers 5\n")?;
        }
        if self.plain {
            f.write_str(
                "As many viewers watch through a plain proxy (level low) before the same origin: of two figures with a \
                 slash\nthe second one is theirs.\n",
            )?;
        }
        f.write_str("Ctrl-C ends the demo.\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_everyone_is_reached_by_the_own_one() {
        let url = |text: &str| base_url(text.parse().unwrap());
        assert_eq!(url("0.0.0.0:1"), "http://127.0.0.1:1");
        assert_eq!(url("[::]:1"), "http://[::1]:1");
        assert_eq!(url("192.0.2.1:1"), "http://192.0.2.1:1");
    }

    #[test]
    fn the_tour_names_both_addresses_and_the_token() {
        let tour = Tour {
            proxy: "0.0.0.0:10080".parse().unwrap(),
            monitor: "http://127.0.0.1:10081/monitor".into(),
            origin: "127.0.0.1:27804".parse().unwrap(),
            network: Network::Poor,
            token: "t0ken".into(),
            viewers: 3,
            plain: true,
        };
        let text = tour.to_string();
        for part in [
            "http://127.0.0.1:10080/health",
            "http://127.0.0.1:27804",
            "network: poor",
            "1.5 % of the answers go wrong",
            "a plain proxy (level low)",
            "http://127.0.0.1:10081/monitor",
            "'Authorization: Bearer t0ken'",
            "-d '{\"level\": \"low\"}'",
            "-d '{\"level\": \"medium\", \"percent\": 50}'",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(text.is_ascii());
    }
}
