//! The URL of the dashboard for a browser; browsers refuse some ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports that browsers refuse: the "bad ports" of the Fetch standard, section 2.8 (<https://fetch.spec.whatwg.org/#port-blocking>).
const REFUSED: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 10080,
];

/// Whether browsers refuse this port.
pub fn is_refused(port: u16) -> bool {
    REFUSED.contains(&port)
}

/// The URL of the dashboard for a browser on this machine, at the first address whose port browsers accept; none if there is none.
pub fn monitor(addresses: &[SocketAddr], is_tls: bool) -> Option<String> {
    let address = addresses.iter().find(|a| !is_refused(a.port()))?;
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if is_tls { "https" } else { "http" };
    let address = SocketAddr::new(ip, address.port());
    Some(format!("{scheme}://{address}/monitor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_one_that_a_browser_opens() {
        let link = |text: &str, tls| {
            let addresses: Vec<_> = text.split(' ').map(|a| a.parse().unwrap()).collect();
            monitor(&addresses, tls)
        };
        assert_eq!(link("0.0.0.0:10080", false), None);
        assert_eq!(
            link("0.0.0.0:10080 [::]:8443", true).as_deref(),
            Some("https://[::1]:8443/monitor")
        );
        assert_eq!(
            link("0.0.0.0:8080 0.0.0.0:8081", false).as_deref(),
            Some("http://127.0.0.1:8080/monitor")
        );
    }

    #[test]
    fn the_list_of_refused_ports_is_in_order() {
        assert!(REFUSED.is_sorted());
    }
}
