//! A request's target and host, validated (RFC 9112 §3.2, RFC 9113 §8.3.1). Pure, and the same for both HTTP versions: what is
//! refused here never reaches the origin.

use std::net::Ipv6Addr;

use actix_http::{
    Method, Uri, Version,
    header::{self, HeaderMap, HeaderValue},
};
use http::uri::{PathAndQuery, Scheme};

/// A request target in the form for the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Path and query, unchanged; `*` for OPTIONS of the whole server.
    pub path: PathAndQuery,
    /// The host and port of an absolute-form target: it overrides Host.
    pub host: Option<HeaderValue>,
}

/// Why a request's target is invalid: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// It is neither origin-form nor absolute-form, nor asterisk-form with OPTIONS.
    #[error("the request target is no path, no http or https URL, and no `*` of OPTIONS")]
    Form,
    /// The host is empty or invalid: with a user name, a list, or a port that is not a number.
    #[error("the request's host is not a valid name or address with an optional port")]
    Host,
    /// More than one Host, or one that differs from :authority.
    #[error("the request names two hosts")]
    TwoHosts,
    /// HTTP/2 with neither :authority nor Host.
    #[error("the request names no host")]
    NoHost,
}

impl Target {
    /// The target of a request other than CONNECT.
    ///
    /// # Errors
    ///
    /// [`BadTarget`] if it is malformed, and must not be forwarded.
    pub fn of(
        method: &Method,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Self, BadTarget> {
        let told = host_field(headers)?;
        let path = uri.path_and_query().ok_or(BadTarget::Form)?;
        let text = path.as_str();
        let is_path = text.starts_with('/') || (text == "*" && method == Method::OPTIONS);
        let named = uri.authority().map(|authority| authority.as_str());
        if let Some(scheme) = uri.scheme()
            && *scheme != Scheme::HTTP
            && *scheme != Scheme::HTTPS
        {
            return Err(BadTarget::Form);
        }
        if named.is_some_and(|named| !is_host(named.as_bytes())) {
            return Err(BadTarget::Host);
        }
        let path = if version == Version::HTTP_2 {
            match (named, told) {
                (None, None) => return Err(BadTarget::NoHost),
                (Some(named), Some(told)) if !is_same(named.as_bytes(), told, uri.scheme()) => {
                    return Err(BadTarget::TwoHosts);
                }
                _ => {}
            }
            is_path.then(|| path.clone())
        } else if is_path {
            Some(path.clone())
        } else if named.is_some() && text.starts_with('?') {
            // An absolute URI without a path means `/` (RFC 9110 §4.2.3).
            PathAndQuery::try_from(format!("/{text}")).ok()
        } else {
            None
        };
        Ok(Target {
            path: path.ok_or(BadTarget::Form)?,
            host: named.and_then(|named| HeaderValue::from_str(named).ok()),
        })
    }
}

/// The Host field, if there is one.
fn host_field(headers: &HeaderMap) -> Result<Option<&[u8]>, BadTarget> {
    let mut hosts = headers.get_all(header::HOST).map(HeaderValue::as_bytes);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadTarget::TwoHosts);
    }
    match host {
        Some(host) if !is_host(host) => Err(BadTarget::Host),
        host => Ok(host),
    }
}

/// Whether it is `uri-host [ ":" port ]` (RFC 9110 §7.2) and not empty. Sub-delimiters, which RFC 3986 §3.2.2 allows in names, are
/// refused: no real host has them, and other software parses them as lists or parameters.
fn is_host(text: &[u8]) -> bool {
    let (host, port) = split(text);
    let port_fits = port.is_empty()
        || (port.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok()));
    port_fits && (is_name(host) || is_ipv6(host))
}

fn is_name(host: &[u8]) -> bool {
    let mut rest = host;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = match byte {
            b'%' if behind.len() >= 2 && behind[..2].iter().all(u8::is_ascii_hexdigit) => {
                &behind[2..]
            }
            b'-' | b'.' | b'_' | b'~' => behind,
            _ if byte.is_ascii_alphanumeric() => behind,
            _ => return false,
        };
    }
    !host.is_empty()
}

/// `[::1]`, optionally with a zone (RFC 6874).
fn is_ipv6(host: &[u8]) -> bool {
    let inside = host
        .strip_prefix(b"[")
        .and_then(|host| host.strip_suffix(b"]"))
        .and_then(|inside| std::str::from_utf8(inside).ok());
    inside.is_some_and(|inside| {
        let (address, zone) = inside.split_once('%').unwrap_or((inside, "25x"));
        address.parse::<Ipv6Addr>().is_ok() && is_name(zone.as_bytes())
    })
}

/// Host and port; a missing port is the same as an empty one.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let name_end = match text.iter().position(|&byte| byte == b']') {
        Some(end) => end + 1,
        None => text.iter().position(|&b| b == b':').unwrap_or(text.len()),
    };
    match &text[name_end..] {
        [b':', port @ ..] => (&text[..name_end], port),
        [] => (text, &[]),
        // Something else follows the address: not a host.
        _ => (&[], &[]),
    }
}

/// Whether both are the same host and port, up to normalization (RFC 3986 §6.2.3).
fn is_same(one: &[u8], other: &[u8], scheme: Option<&Scheme>) -> bool {
    let default: &[u8] = if scheme == Some(&Scheme::HTTP) {
        b"80"
    } else {
        b"443"
    };
    let normal = |text| match split(text) {
        (host, []) => (host, default),
        parts => parts,
    };
    let ((host, port), (other_host, other_port)) = (normal(one), normal(other));
    host.eq_ignore_ascii_case(other_host) && port == other_port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(
        method: &str,
        version: Version,
        uri: Uri,
        hosts: &[&str],
    ) -> Result<Target, BadTarget> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(
                header::HOST,
                HeaderValue::from_bytes(host.as_bytes()).unwrap(),
            );
        }
        Target::of(&method.parse().unwrap(), version, &uri, &headers)
    }

    fn http1(method: &str, text: &str) -> Result<String, BadTarget> {
        let target = target(
            method,
            Version::HTTP_11,
            text.parse().unwrap(),
            &["a.example"],
        )?;
        Ok(target.path.to_string())
    }

    fn http2(method: &str, path: &'static str, hosts: &[&str]) -> Result<String, BadTarget> {
        let uri = Uri::builder()
            .scheme("https")
            .authority("a.example")
            .path_and_query(path);
        let target = target(method, Version::HTTP_2, uri.build().unwrap(), hosts)?;
        Ok(target.path.to_string())
    }

    #[test]
    fn a_path_passes_byte_for_byte() {
        for path in [
            "/",
            "/a/../b%00%zz?x=%",
            "//a/b?c",
            "/http://b/",
            "/?x=1",
            "/*",
        ] {
            assert_eq!(http1("GET", path).unwrap(), path);
            assert_eq!(http2("GET", path, &[]).unwrap(), path);
        }
        assert_eq!(http1("OPTIONS", "*").unwrap(), "*");
        assert_eq!(http2("OPTIONS", "*", &[]).unwrap(), "*");
    }

    #[test]
    fn an_absolute_url_is_its_path_and_names_the_host() {
        for (url, path) in [
            ("http://b.example/x?y", "/x?y"),
            ("HTTPS://b.example:8443/x", "/x"),
            ("http://b.example", "/"),
            ("http://b.example?x=1", "/?x=1"),
            ("http://[::1]:80/", "/"),
        ] {
            assert_eq!(http1("GET", url).unwrap(), path, "{url}");
        }
        let uri = "http://b.example:81?x".parse().unwrap();
        let target = target("GET", Version::HTTP_11, uri, &["a.example"]).unwrap();
        assert_eq!(target.host.unwrap(), "b.example:81");
    }

    #[test]
    fn everything_else_is_no_target() {
        for text in [
            "a",
            "b.example:80",
            "*",
            "ftp://b.example/x",
            "user@b.example",
        ] {
            assert_eq!(http1("GET", text), Err(BadTarget::Form), "{text}");
        }
        assert_eq!(http1("GET", "http://user@b.example/"), Err(BadTarget::Host));
        for path in [
            "http://b.example/x",
            "b.example:80",
            "x",
            "@b.example/x",
            "?q",
            "*",
        ] {
            assert_eq!(http2("GET", path, &[]), Err(BadTarget::Form), "{path}");
        }
        assert_eq!(http2("OPTIONS", "*x", &[]), Err(BadTarget::Form));
    }

    #[test]
    fn a_host_is_one_name_or_address_with_a_port_or_without() {
        let with = |host| target("GET", Version::HTTP_11, "/".parse().unwrap(), &[host]);
        for host in [
            "a",
            "a.example",
            "A_b-c~1.example.:8080",
            "192.0.2.7:1",
            "[2001:db8::1]",
            "[fe80::1%25eth0]:443",
            "a:",
            "a:65535",
            "xn--bcher-kva.example",
            "a%2db",
        ] {
            assert!(with(host).is_ok(), "{host}");
        }
        for host in [
            "",
            " ",
            "a b",
            "a/b",
            "a,b",
            "a@b",
            "a#b",
            "a?b",
            "a\\b",
            "a:b",
            "a:65536",
            "a:+1",
            "a:1:2",
            "[::1",
            "::1",
            "[::1]x",
            "[::g]",
            "[]",
            ":80",
            "a;b",
            "a\"b",
            "a%2",
            "b\u{fc}cher",
            "a\tb",
            "<a>",
            "a, b",
            "a=b",
            "[::1%]",
            "a^b",
            "a|b",
        ] {
            assert_eq!(with(host), Err(BadTarget::Host), "{host:?}");
        }
        let two = target("GET", Version::HTTP_11, "/".parse().unwrap(), &["a", "a"]);
        assert_eq!(two, Err(BadTarget::TwoHosts));
    }

    #[test]
    fn over_http2_host_says_what_authority_does() {
        for host in ["a.example", "A.Example", "a.example:443", "a.example:"] {
            assert!(http2("GET", "/", &[host]).is_ok(), "{host}");
        }
        for host in ["b.example", "a.example:80", "a.example."] {
            assert_eq!(
                http2("GET", "/", &[host]),
                Err(BadTarget::TwoHosts),
                "{host}"
            );
        }
        let alone = |hosts: &[&str]| target("GET", Version::HTTP_2, "/".parse().unwrap(), hosts);
        assert!(alone(&["a.example"]).is_ok());
        assert_eq!(alone(&[]), Err(BadTarget::NoHost));
        // HTTP/1.0 has no Host.
        assert!(target("GET", Version::HTTP_10, "/".parse().unwrap(), &[]).is_ok());
    }
}
