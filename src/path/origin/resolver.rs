//! Resolves the origin's addresses, cached for their TTL within the level's limit.
//!
//! They are resolved again earlier if they may have changed: /etc/hosts or /etc/resolv.conf is a new file (checked at most once a
//! second), the settings were reloaded, or no connection could be opened. An expired answer is better than none: while DNS fails,
//! the last addresses stay in use.

use std::{
    cell::RefCell,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hickory_resolver::{TokioResolver, net::NetError};

use super::name_files::{NameFiles, Stamps};

/// The shortest time between two checks of the files, and between two lookups.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Tells all resolvers that the addresses may have changed. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Anew(Arc<AtomicU64>);

impl Anew {
    /// Makes every resolver look the name up again before its next answer.
    pub fn ask(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Resolves one host, for one worker.
pub struct Resolver {
    host: String,
    files: NameFiles,
    anew: Anew,
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    /// The DNS client, configured from the files of version `stamps`.
    dns: Option<TokioResolver>,
    stamps: Stamps,
    /// When the files were last checked.
    looked: Option<Instant>,
    /// The value of `anew` that was last seen.
    anew: u64,
    answer: Option<Answer>,
    /// When the last lookup began.
    tried: Option<Instant>,
    /// Why the next lookup comes before the answer expires.
    doubt: Doubt,
}

#[derive(Clone)]
struct Answer {
    addresses: Vec<IpAddr>,
    asked: Instant,
    valid_until: Instant,
}

/// Whether an answer that has not expired is trusted.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Doubt {
    #[default]
    None,
    /// No: no connection could be opened with it.
    Failed,
    /// No: its configuration has changed.
    Changed,
}

/// Why a name could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The system's configuration is invalid.
    #[error("the system's DNS configuration cannot be used: {0}")]
    Configuration(#[source] NetError),
    /// The DNS lookup failed or found nothing.
    #[error("{host} has no address: {source}")]
    Lookup {
        /// The name.
        host: String,
        /// What DNS says.
        source: NetError,
    },
}

impl Resolver {
    /// For one host: a name or an IP address.
    pub fn new(host: &str, anew: Anew) -> Self {
        Self::by(host, anew, NameFiles::default())
    }

    fn by(host: &str, anew: Anew, files: NameFiles) -> Self {
        Resolver {
            host: host.to_owned(),
            files,
            known: RefCell::new(Known {
                anew: anew.0.load(Relaxed),
                ..Known::default()
            }),
            anew,
        }
    }

    /// The host's addresses, cached for at most `keep` unless DNS fails.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] if there never was an answer.
    pub async fn addresses(&self, keep: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = self.host.parse() {
            return Ok(vec![address]);
        }
        let now = Instant::now();
        let kept = {
            let mut known = self.known.borrow_mut();
            known.look(&self.files, &self.anew, now);
            if let Some(kept) = &known.answer
                && !known.is_due(kept, keep, now)
            {
                return Ok(kept.addresses.clone());
            }
            // Concurrent callers use the cached answer.
            known.tried = Some(now);
            known.doubt = Doubt::None;
            known.answer.clone()
        };
        match self.ask(now, kept.is_some()).await {
            Ok(answer) => {
                let addresses = answer.addresses.clone();
                if kept.is_some_and(|kept| kept.addresses != addresses) {
                    tracing::debug!(host = self.host, ?addresses, "the name has other addresses");
                }
                self.known.borrow_mut().answer = Some(answer);
                Ok(addresses)
            }
            Err(error) => match kept {
                Some(kept) => {
                    tracing::warn!(%error, "dns does not answer, the last addresses stay in use");
                    Ok(kept.addresses)
                }
                None => Err(error),
            },
        }
    }

    /// No connection could be opened with the last answer: the next call looks it up again.
    pub fn doubt(&self) {
        let mut known = self.known.borrow_mut();
        if known.doubt == Doubt::None {
            known.doubt = Doubt::Failed;
        }
    }

    async fn ask(&self, now: Instant, again: bool) -> Result<Answer, ResolveError> {
        let known = self.known.borrow().dns.clone();
        let dns = match known {
            Some(dns) => dns,
            None => {
                let dns = self.files.read().map_err(ResolveError::Configuration)?;
                self.known.borrow_mut().dns = Some(dns.clone());
                dns
            }
        };
        if again {
            // The DNS client's own cache would repeat the answer until the TTL ends.
            dns.clear_cache();
        }
        let lookup =
            dns.lookup_ip(self.host.as_str())
                .await
                .map_err(|source| ResolveError::Lookup {
                    host: self.host.clone(),
                    source,
                })?;
        Ok(Answer {
            addresses: lookup.iter().collect(),
            asked: now,
            valid_until: lookup.valid_until(),
        })
    }
}

impl Known {
    /// Checks whether the answer may have changed.
    fn look(&mut self, files: &NameFiles, anew: &Anew, now: Instant) {
        let asked = anew.0.load(Relaxed);
        let told = asked != self.anew;
        let long_ago = self.looked.is_none_or(|at| now >= at + AT_MOST_EVERY);
        if !told && !long_ago {
            return;
        }
        (self.anew, self.looked) = (asked, Some(now));
        let stamps = files.stamps();
        if stamps != self.stamps {
            self.dns = None;
            self.stamps = stamps;
            self.doubt = Doubt::Changed;
        } else if told {
            self.doubt = Doubt::Changed;
        }
    }

    /// Whether the answer must be looked up again.
    fn is_due(&self, answer: &Answer, keep: Duration, now: Instant) -> bool {
        let rested = self.tried.is_none_or(|at| now >= at + AT_MOST_EVERY);
        let lives = now < answer.valid_until.min(answer.asked + keep);
        match self.doubt {
            Doubt::Changed => true,
            Doubt::Failed => rested,
            Doubt::None => rested && !lives,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener, UdpSocket},
        sync::atomic::AtomicU8,
        thread,
    };

    use super::{
        super::{
            connect::{ConnectError, Target},
            sockets::Sockets,
        },
        *,
    };

    const LONG: Duration = Duration::from_secs(600);

    /// A folder with hosts and resolv.conf for a test.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(hosts: &str) -> Self {
            let folder = Folder(tempfile::tempdir().unwrap());
            std::fs::write(
                folder.0.path().join("resolv.conf"),
                "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
            )
            .unwrap();
            folder.hosts(hosts);
            folder
        }

        fn hosts(&self, text: &str) {
            std::fs::write(self.0.path().join("hosts"), text).unwrap();
        }

        fn files(&self, port: u16) -> NameFiles {
            NameFiles {
                hosts: self.0.path().join("hosts"),
                resolv_conf: self.0.path().join("resolv.conf"),
                port,
            }
        }
    }

    /// Pretends that the last lookup was a second ago.
    fn rest(resolver: &Resolver) {
        let mut known = resolver.known.borrow_mut();
        let earlier = |at: Option<Instant>| Some(at.unwrap() - AT_MOST_EVERY);
        (known.looked, known.tried) = (earlier(known.looked), earlier(known.tried));
    }

    fn address(last: u8) -> Vec<IpAddr> {
        vec![Ipv4Addr::new(127, 0, 0, last).into()]
    }

    #[actix_rt::test]
    async fn a_name_that_moves_in_the_hosts_file_is_followed_within_a_second() {
        let folder = Folder::new("127.0.0.2 files.test\n");
        let resolver = Resolver::by("files.test", Anew::default(), folder.files(53));
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(2));
        folder.hosts("# moved\n127.0.0.3 files.test\n");
        rest(&resolver);
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(3));
    }

    #[actix_rt::test]
    async fn a_name_that_was_not_there_is_found_once_it_is() {
        let folder = Folder::new("");
        let port = dns(Arc::default()).1;
        let resolver = Resolver::by("files.test", Anew::default(), folder.files(port));
        let other = Resolver::by("other.test", Anew::default(), folder.files(port));
        assert!(other.addresses(LONG).await.is_err());
        folder.hosts("127.0.0.4 files.test\n127.0.0.5 other.test\n");
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(4));
        other.known.borrow_mut().looked = None;
        assert_eq!(other.addresses(LONG).await.unwrap(), address(5));
    }

    #[actix_rt::test]
    async fn an_answer_that_gives_no_connection_is_asked_for_anew_once_a_second_at_most() {
        let folder = Folder::new("");
        let (now, port) = dns(Arc::new(AtomicU8::new(2)));
        let resolver = Resolver::by("files.test", Anew::default(), folder.files(port));
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(2));
        now.store(3, Relaxed);
        // The record's TTL has an hour left.
        rest(&resolver);
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(2));
        resolver.doubt();
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(3));
        now.store(4, Relaxed);
        resolver.doubt();
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(3));
        rest(&resolver);
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(4));
    }

    #[actix_rt::test]
    async fn a_level_that_keeps_answers_for_a_shorter_time_than_they_live_is_kept_to() {
        let folder = Folder::new("");
        let (now, port) = dns(Arc::new(AtomicU8::new(2)));
        let resolver = Resolver::by("files.test", Anew::default(), folder.files(port));
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(2));
        now.store(3, Relaxed);
        rest(&resolver);
        let short = Duration::ZERO;
        assert_eq!(resolver.addresses(short).await.unwrap(), address(3));
    }

    #[actix_rt::test]
    async fn a_reload_asks_anew_at_once() {
        let folder = Folder::new("");
        let (now, port) = dns(Arc::new(AtomicU8::new(2)));
        let anew = Anew::default();
        let resolver = Resolver::by("files.test", anew.clone(), folder.files(port));
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(2));
        now.store(3, Relaxed);
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(2));
        anew.ask();
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(3));
    }

    #[actix_rt::test]
    async fn a_connect_that_fails_because_the_name_has_moved_goes_to_its_new_address() {
        let folder = Folder::new("");
        let (now, port) = dns(Arc::new(AtomicU8::new(2)));
        let resolver = Resolver::by("files.test", Anew::default(), folder.files(port));
        assert_eq!(resolver.addresses(LONG).await.unwrap(), address(2));
        // Nobody listens at 127.0.0.2 with this port.
        let origin = TcpListener::bind("127.0.0.3:0").unwrap();
        now.store(3, Relaxed);
        rest(&resolver);
        let sockets = Arc::new(Sockets::new(Arc::default()));
        let target = Target {
            resolver: &resolver,
            host: "files.test",
            port: origin.local_addr().unwrap().port(),
            tls: None,
            options: None,
            dns_cache: LONG,
            connect_timeout: LONG,
            deadline: Instant::now() + LONG,
        };
        target
            .connect(sockets.try_reserve(9).unwrap())
            .await
            .unwrap();
        // The name has not moved: the connect fails.
        drop(origin);
        let failed = target.connect(sockets.try_reserve(9).unwrap()).await;
        assert!(matches!(failed, Err(ConnectError::Connect { .. })));
    }

    /// A DNS server that resolves every name to 127.0.0.N with a TTL of an hour; NXDOMAIN if N is 0.
    fn dns(last: Arc<AtomicU8>) -> (Arc<AtomicU8>, u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let says = Arc::clone(&last);
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((n, from)) = socket.recv_from(&mut query) {
                let last = says.load(Relaxed);
                // The question ends with type and class behind its name's empty label (RFC 1035 §4.1.2).
                let name = query[12..n].iter().position(|&byte| byte == 0).unwrap();
                let question = 12..12 + name + 5;
                let is_a = query[question.end - 4..question.end - 2] == [0, 1];
                let answers = u8::from(is_a && last != 0);
                let code = if last == 0 { 3 } else { 0 };
                let mut answer = vec![query[0], query[1], 0x84, code, 0, 1, 0, answers, 0, 0, 0, 0];
                answer.extend_from_slice(&query[question]);
                if answers == 1 {
                    answer.extend([
                        0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 127, 0, 0, last,
                    ]);
                }
                _ = socket.send_to(&answer, from);
            }
        });
        (last, port)
    }
}
