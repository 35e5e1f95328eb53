//! `[admin]`: the addresses of the operators' endpoints, and the token for those that change something.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tracing::info;

use super::attempts::Attempts;
use crate::{reloadable::reloadable, units::OutOfRange};

/// `[admin]`: the addresses of the operators' endpoints, and the token for those that change something.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The bearer token (RFC 6750); empty: one is generated at startup and logged once.
    #[serde(serialize_with = "hidden")]
    pub token: String,
    /// An address for the operators' endpoints alone; none: they are served on `server.listen`.
    #[serde(with = "crate::units::if_not_empty")]
    pub listen: Option<SocketAddr>,
    /// An additional address for the endpoints, for browsers on this machine; none: not used. Ignored if `listen` is set.
    #[serde(with = "crate::units::if_not_empty")]
    pub local: Option<SocketAddr>,
}

reloadable!(Settings {
    token: AtOnce,
    listen: AfterRestart,
    local: AfterRestart,
});

impl Settings {
    /// Checks the token.
    ///
    /// [`OutOfRange`] if it cannot be sent in a header. The message does not contain the token.
    ///
    /// [`OutOfRange`] if it cannot stand in a header. The token itself is not repeated.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless(
            self.token.bytes().all(|byte| byte.is_ascii_graphic()) && self.token.len() <= 1024,
            "admin.token",
            "at most 1024 visible ASCII characters without spaces",
            "something else",
        )
    }
}

fn hidden<S: serde::Serializer>(secret: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.is_empty() { "" } else { "***" })
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token.is_empty() { "none" } else { "set" };
        f.debug_struct("Settings")
            .field("token", &token)
            .field("listen", &self.listen)
            .field("local", &self.local)
            .finish()
    }
}

/// The token for the admin endpoints, and the record of wrong attempts. It is written only once, to the log, if it was generated at
/// startup. Clones share it.
#[derive(Clone)]
pub struct AdminToken(Arc<Guarded>);

struct Guarded {
    token: ArcSwap<String>,
    attempts: Attempts,
}

impl AdminToken {
    /// The configured token; if it is empty, a new one that is logged once.
    ///
    /// # Errors
    ///
    /// The system has no random numbers to generate one.
    pub fn of(settings: &Settings) -> io::Result<Self> {
        let token = Self::chosen(settings)?;
        Ok(Self(Arc::new(Guarded {
            token: ArcSwap::from_pointee(token),
            attempts: Attempts::new(),
        })))
    }

    /// Replaces the token after a reload, as [`AdminToken::of`] chooses it.
    ///
    /// # Errors
    ///
    /// The system has no random numbers to generate one; the token stays.
    pub fn renew(&self, settings: &Settings) -> io::Result<()> {
        self.0.token.store(Arc::new(Self::chosen(settings)?));
        Ok(())
    }

    /// The record of wrong attempts.
    pub(super) fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }

    fn chosen(settings: &Settings) -> io::Result<String> {
        if !settings.token.is_empty() {
            return Ok(settings.token.clone());
        }
        let token = made()?;
        info!(
            token,
            "no admin.token is set: this one was made for this run"
        );
        Ok(token)
    }

    /// The token itself, for the demo, which prints it.
    pub fn reveal(&self) -> Arc<String> {
        self.0.token.load_full()
    }

    /// Whether this is the token. Takes constant time, so that the token cannot be found by measuring.
    pub(super) fn matches(&self, given: &[u8]) -> bool {
        self.0.token.load().as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

/// 128 random bits in hexadecimal.
fn made() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("no randomness for an admin token: set admin.token"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_made_is_long_and_never_the_same() {
        let made = || AdminToken::of(&Settings::default()).unwrap();
        let (one, other) = (made(), made());
        assert_eq!(one.reveal().len(), 32);
        assert_ne!(one.reveal(), other.reveal());
        assert!(one.matches(one.reveal().as_bytes()));
        assert!(!one.matches(other.reveal().as_bytes()));
        assert!(!one.matches(b""));
    }

    #[test]
    fn a_token_is_never_shown_and_a_wrong_one_not_repeated() {
        let settings = Settings {
            token: "secret word".into(),
            ..Settings::default()
        };
        let error = settings.check().unwrap_err().to_string();
        let shown = format!(
            "{settings:?} {error} {:?}",
            AdminToken::of(&settings).unwrap()
        );
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("admin.token must be"), "{shown}");
    }
}
