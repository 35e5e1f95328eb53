//! Which congestion control the sockets of a host really use, as `ss -ti` says.

use std::{collections::BTreeMap, process::Command};

use anyhow::Result;

use crate::namespace::{Namespace, run};

/// Sockets by congestion control.
pub type Seen = BTreeMap<String, u64>;

/// Counts the established connections of a host by congestion control; those to the host itself are left out.
///
/// # Errors
///
/// `ss` is missing.
pub fn seen(host: &Namespace, known: &[String]) -> Result<Seen> {
    // -O: one line for each socket.
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        host.name(),
        "ss",
        "-H",
        "-O",
        "-t",
        "-i",
        "-n",
        "state",
        "established",
    ]);
    Ok(count(&run(&mut command)?, known))
}

/// The congestion controls this kernel has.
#[must_use]
pub fn known() -> Vec<String> {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn count(text: &str, known: &[String]) -> Seen {
    let mut seen = Seen::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(peer)) = (words.get(2), words.get(3)) else {
            continue;
        };
        let host = |address: &str| address.rsplit_once(':').map(|(h, _)| h.to_owned());
        if host(local) == host(peer) {
            continue;
        }
        if let Some(word) = words.iter().skip(4).find(|w| known.iter().any(|k| k == *w)) {
            *seen.entry((*word).to_owned()).or_default() += 1;
        }
    }
    seen
}

/// Keeps the most of each seen so far.
pub fn most(total: &mut Seen, now: Seen) {
    for (name, count) in now {
        let entry = total.entry(name).or_default();
        *entry = (*entry).max(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_counted_by_what_they_use() {
        let text = "\
0 0 10.203.0.2:40000 10.203.0.1:10080 cubic wscale:7,7 rto:204 rtt:0.1/0.05\n\
0 0 10.203.0.2:40001 10.203.0.1:10080 ts sack bbr wscale:7,7 rto:204\n\
0 0 10.204.0.2:8000 10.204.0.2:40002 bbr wscale:7,7\n";
        let known = vec!["cubic".to_owned(), "bbr".to_owned()];
        assert_eq!(
            count(text, &known),
            Seen::from([("bbr".to_owned(), 1), ("cubic".to_owned(), 1)])
        );
    }
}
