//! `[origin]`: the server that has the files.

use std::{fmt, path::PathBuf, str::FromStr};

use actix_http::{Uri, header::HeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{reloadable::reloadable, traffic::redacted::redacted, units::OutOfRange};

/// The origin server and how to talk to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Scheme, host, port and, optionally, a base path that is prepended to every request's path.
    pub url: OriginUrl,
    /// The Host header sent to it.
    pub host: HostHeader,
    /// Longest response head, in bytes.
    #[serde(with = "crate::units::sized")]
    pub max_head: bytesize::ByteSize,
    /// Exchanges beyond the level's connections that may continue while they only wait: for a client that reads or sends nothing,
    /// or for an origin that delays its response.
    pub waiting_connections: usize,
    /// TLS, for an https origin.
    pub tls: TlsSettings,
}

reloadable!(Settings {
    url: AfterRestart,
    host: NextRequest,
    max_head: NextRequest,
    waiting_connections: NextRequest,
    tls: Nested,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let sizes = 1024..=128 * 1024;
        let is = self.max_head;
        OutOfRange::unless(
            sizes.contains(&is.as_u64()),
            "origin.max_head",
            "1KiB to 128KiB",
            is,
        )?;
        let is = self.waiting_connections;
        OutOfRange::unless(
            (0..=100_000).contains(&is),
            "origin.waiting_connections",
            "0 to 100000",
            is,
        )
    }

    /// The Host to send to the origin; `None`: the client's.
    pub fn host_header(&self) -> Option<HeaderValue> {
        let name = match &self.host {
            HostHeader::Origin => self.url.authority(),
            HostHeader::Fixed(name) => name,
            HostHeader::Client => return None,
        };
        HeaderValue::from_str(name).ok()
    }
}

/// How an https origin is verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file of certificates to trust in addition to the system's; empty: none.
    pub ca_file: PathBuf,
    /// Whether the certificate is verified. Turn it off only for tests and closed networks.
    pub verify: bool,
    /// The name that the certificate must have; empty: the URL's host.
    pub server_name: String,
}

reloadable!(TlsSettings {
    ca_file: NextRequest,
    verify: NextRequest,
    server_name: NextRequest,
});

/// The Host header to send to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The origin URL's host and port.
    Origin,
    /// The one that the client sent.
    Client,
    /// This fixed value.
    Fixed(String),
}

impl<'de> Deserialize<'de> for HostHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        match word.as_str() {
            "origin" => Ok(HostHeader::Origin),
            "client" => Ok(HostHeader::Client),
            name if name
                .parse::<actix_http::uri::Authority>()
                .is_ok_and(|a| !a.as_str().contains('@')) =>
            {
                Ok(HostHeader::Fixed(word))
            }
            _ => Err(D::Error::custom(format!(
                "`{}` is no Host: give origin, client or a host name",
                redacted(&word)
            ))),
        }
    }
}

impl Serialize for HostHeader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            HostHeader::Origin => "origin",
            HostHeader::Client => "client",
            HostHeader::Fixed(name) => name,
        })
    }
}

/// An http or https URL without credentials, query or fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct OriginUrl {
    uri: Uri,
    /// The base path without a trailing slash.
    base: String,
}

/// Why a URL is not valid for an origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnOrigin {
    /// It is not a URL.
    #[error("`{0}` is not a URL: give something like http://files.example:8080")]
    Url(String),
    /// The scheme is neither http nor https.
    #[error("`{0}` is neither http nor https")]
    Scheme(String),
    /// It contains a user name or password.
    #[error("an origin URL carries no user name or password")]
    Credentials,
    /// It contains a query or a fragment.
    #[error("`{0}` has a query or a fragment: an origin URL ends with its path")]
    Query(String),
}

impl FromStr for OriginUrl {
    type Err = NotAnOrigin;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word.contains('@') {
            return Err(NotAnOrigin::Credentials);
        }
        if word.contains(['?', '#']) {
            return Err(NotAnOrigin::Query(redacted(word)));
        }
        let uri: Uri = word
            .parse()
            .map_err(|_| NotAnOrigin::Url(word.to_owned()))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(scheme) => return Err(NotAnOrigin::Scheme(scheme.to_owned())),
            None => return Err(NotAnOrigin::Url(word.to_owned())),
        }
        let port_is_odd = uri.authority().is_some_and(|a| {
            let after_host = a
                .as_str()
                .rsplit_once(']')
                .map_or(a.as_str(), |(_, rest)| rest);
            after_host.contains(':') && a.port_u16().is_none_or(|port| port == 0)
        });
        if uri.host().is_none_or(str::is_empty) || port_is_odd {
            return Err(NotAnOrigin::Url(word.to_owned()));
        }
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(OriginUrl { uri, base })
    }
}

impl OriginUrl {
    /// Whether the scheme is https.
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// The host: a name or an address (IPv6 without brackets).
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port, or the scheme's default.
    pub fn port(&self) -> u16 {
        self.uri
            .port_u16()
            .unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Host and port as written in the URL; the value of a Host header.
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |a| a.as_str())
    }

    /// The base path that is prepended to every request's path: empty, or with a leading and without a trailing slash.
    pub fn base(&self) -> &str {
        &self.base
    }
}

impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.uri.scheme_str().unwrap_or_default(),
            self.authority(),
            self.base
        )
    }
}

impl fmt::Debug for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for OriginUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OriginUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_port_has_its_schemes_port() {
        let url: OriginUrl = "https://files.example/base/".parse().unwrap();
        assert_eq!(
            (url.host(), url.port(), url.base()),
            ("files.example", 443, "/base")
        );
    }

    #[test]
    fn an_ipv6_origin_loses_its_brackets_only_for_the_socket() {
        let url: OriginUrl = "http://[::1]:8080".parse().unwrap();
        assert_eq!(
            (url.host(), url.port(), url.authority()),
            ("::1", 8080, "[::1]:8080")
        );
    }

    #[test]
    fn what_is_no_origin_is_refused_with_its_reason() {
        for bad in [
            "",
            "files",
            "/files",
            "http://",
            "http://host:0",
            "http://host:99999",
            "http://host:x",
        ] {
            assert!(
                matches!(bad.parse::<OriginUrl>(), Err(NotAnOrigin::Url(_))),
                "{bad}"
            );
        }
        assert!(matches!(
            "ftp://host".parse::<OriginUrl>(),
            Err(NotAnOrigin::Scheme(_))
        ));
        assert_eq!(
            "http://me:secret@host".parse::<OriginUrl>(),
            Err(NotAnOrigin::Credentials)
        );
        assert!(matches!(
            "http://host/?a".parse::<OriginUrl>(),
            Err(NotAnOrigin::Query(_))
        ));
    }
}
