//! The origin's addresses, kept as long as their records live and the level allows.
//!
//! An expired answer is better than none: while DNS does not answer, the last addresses stay in use.

use std::{
    cell::{OnceCell, RefCell},
    net::IpAddr,
    time::{Duration, Instant},
};

use hickory_resolver::{TokioResolver, config::LookupIpStrategy, net::NetError};

/// Resolves one host for one worker.
pub struct Resolver {
    host: String,
    dns: OnceCell<TokioResolver>,
    answer: RefCell<Option<Answer>>,
}

#[derive(Clone)]
struct Answer {
    addresses: Vec<IpAddr>,
    asked: Instant,
    valid_until: Instant,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The system's configuration cannot be read.
    #[error("the system's DNS configuration cannot be read: {0}")]
    Configuration(#[source] NetError),
    /// DNS says no, or nothing.
    #[error("{host} has no address: {source}")]
    Lookup {
        /// The name.
        host: String,
        /// What DNS says.
        source: NetError,
    },
}

impl Resolver {
    /// For one host: a name or an address.
    pub fn new(host: &str) -> Self {
        Resolver {
            host: host.to_owned(),
            dns: OnceCell::new(),
            answer: RefCell::default(),
        }
    }

    /// The host's addresses, at most `keep` old unless DNS fails.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] where there was never an answer.
    pub async fn addresses(&self, keep: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = self.host.parse() {
            return Ok(vec![address]);
        }
        let now = Instant::now();
        let kept = self.answer.borrow().clone();
        if let Some(kept) = &kept
            && now < kept.valid_until.min(kept.asked + keep)
        {
            return Ok(kept.addresses.clone());
        }
        match self.ask(now).await {
            Ok(answer) => {
                let addresses = answer.addresses.clone();
                *self.answer.borrow_mut() = Some(answer);
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

    async fn ask(&self, now: Instant) -> Result<Answer, ResolveError> {
        let dns = match self.dns.get() {
            Some(dns) => dns,
            None => {
                let mut builder =
                    TokioResolver::builder_tokio().map_err(ResolveError::Configuration)?;
                builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
                let dns = builder.build().map_err(ResolveError::Configuration)?;
                self.dns.get_or_init(|| dns)
            }
        };
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
