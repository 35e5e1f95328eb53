//! Which fields pass, and which are added (RFC 9110 §7.6, RFC 7239). Pure.

use std::{fmt::Write as _, net::IpAddr};

use actix_http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use ipnet::IpNet;

/// What the proxy calls itself in Via.
const VIA: &str = "1.1 fileproxy";

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The request's id, taken from the client or made here.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 128;

/// Where a request came from, as the proxy itself knows it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The address of the peer.
    pub address: IpAddr,
    /// Whether the peer's own X-Forwarded-* and Forwarded are believed.
    pub trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The Host that it asked for.
    pub host: Option<&'a HeaderValue>,
}

/// Whether an address is one of the trusted proxies'.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// Whether a field ends at this hop whatever Connection says (RFC 9110 §7.6.1).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The fields that Connection names.
fn named(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "close" && name != "keep-alive")
        .collect()
}

/// The fields of a request as they go to the origin. `host` is the Host that it sees.
pub fn to_origin(from: &HeaderMap, client: Client<'_>, host: &HeaderValue, id: &str) -> HeaderMap {
    let named = named(from);
    let mut to = HeaderMap::with_capacity(from.len() + 8);
    for (name, value) in from.iter() {
        let passes = !(is_hop_by_hop(name)
            || *name == header::HOST
            || *name == header::EXPECT
            || *name == header::CONTENT_LENGTH
            || *name == header::VIA
            || *name == header::FORWARDED
            || *name == FORWARDED_FOR
            || *name == FORWARDED_PROTO
            || *name == FORWARDED_HOST
            || *name == REQUEST_ID
            || named.iter().any(|n| n == name.as_str()));
        if passes {
            to.append(name.clone(), value.clone());
        }
    }
    to.insert(header::HOST, host.clone());
    to.insert(header::VIA, joined(from, &header::VIA, VIA));
    if let Ok(id) = HeaderValue::from_str(id) {
        to.insert(REQUEST_ID.clone(), id);
    }
    forwarded(from, client, &mut to);
    to
}

/// Adds who the request came from (X-Forwarded-*, and Forwarded by RFC 7239). What the client says of it is kept only
/// from a trusted proxy.
fn forwarded(from: &HeaderMap, client: Client<'_>, to: &mut HeaderMap) {
    let nothing = HeaderMap::new();
    let said = if client.trusted { from } else { &nothing };
    let address = client.address.to_canonical();
    let mut text = String::with_capacity(64);
    _ = write!(text, "{address}");
    to.insert(FORWARDED_FOR.clone(), joined(said, &FORWARDED_FOR, &text));

    let proto = said.get(&FORWARDED_PROTO).cloned();
    to.insert(
        FORWARDED_PROTO.clone(),
        proto.unwrap_or(HeaderValue::from_static(client.scheme)),
    );
    if let Some(host) = said.get(&FORWARDED_HOST).or(client.host) {
        to.insert(FORWARDED_HOST.clone(), host.clone());
    }

    text.clear();
    _ = match address {
        IpAddr::V4(v4) => write!(text, "for={v4}"),
        IpAddr::V6(v6) => write!(text, "for=\"[{v6}]\""),
    };
    if let Some(host) = client.host.and_then(|host| host.to_str().ok())
        && !host.contains(['"', '\\'])
    {
        _ = write!(text, ";host=\"{host}\"");
    }
    _ = write!(text, ";proto={}", client.scheme);
    to.insert(header::FORWARDED, joined(said, &header::FORWARDED, &text));
}

/// The values of a list field with one more at the end.
fn joined(from: &HeaderMap, name: &HeaderName, last: &str) -> HeaderValue {
    let mut list = Vec::new();
    for value in from.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(last.as_bytes());
    HeaderValue::from_bytes(&list).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The fields of a response as they go to the client. Content-Length is left out: the body's size says it.
pub fn to_client(from: HeaderMap, to: &mut HeaderMap, status: StatusCode, id: &str) {
    let named = named(&from);
    // A 304 tells the length of what it does not send (RFC 9110 §15.4.5).
    let keeps_length = status == StatusCode::NOT_MODIFIED;
    let via = joined(&from, &header::VIA, VIA);
    for (name, value) in from {
        let passes = !(is_hop_by_hop(&name)
            || (name == header::CONTENT_LENGTH && !keeps_length)
            || name == header::VIA
            || named.iter().any(|n| n == name.as_str()));
        if passes {
            to.append(name, value);
        }
    }
    to.insert(header::VIA, via);
    if !to.contains_key(&REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(id)
    {
        to.insert(REQUEST_ID.clone(), id);
    }
}

/// The id that a client gave its request, if it is one that can be written to a log.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(&REQUEST_ID)?.to_str().ok()?;
    let fits =
        !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(id)
}

/// How often this proxy is in a Via already: a request that went round has it.
pub fn passes_so_far(headers: &HeaderMap) -> usize {
    headers
        .get_all(header::VIA)
        .filter_map(|value| value.to_str().ok())
        .map(|value| value.matches(VIA).count())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name.parse().unwrap(), value.parse().unwrap());
        }
        map
    }

    fn client(trusted: bool) -> Client<'static> {
        Client {
            address: "192.0.2.7".parse().unwrap(),
            trusted,
            scheme: "http",
            host: None,
        }
    }

    fn sent(fields: &[(&str, &str)], trusted: bool) -> HeaderMap {
        to_origin(
            &map(fields),
            client(trusted),
            &HeaderValue::from_static("origin"),
            "id-1",
        )
    }

    #[test]
    fn what_connection_names_ends_here() {
        let to = sent(
            &[
                ("connection", "X-Secret, close"),
                ("x-secret", "1"),
                ("x-kept", "2"),
                ("te", "gzip"),
            ],
            false,
        );
        assert!(
            !to.contains_key("x-secret")
                && !to.contains_key("te")
                && !to.contains_key("connection")
        );
        assert_eq!(to.get("x-kept").unwrap(), "2");
    }

    #[test]
    fn a_stranger_is_not_believed_who_it_forwards_for() {
        let lies = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let to = sent(&lies, false);
        assert_eq!(to.get("x-forwarded-for").unwrap(), "192.0.2.7");
        assert_eq!(to.get("x-forwarded-proto").unwrap(), "http");
        assert_eq!(to.get("forwarded").unwrap(), "for=192.0.2.7;proto=http");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added() {
        let said = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let to = sent(&said, true);
        assert_eq!(to.get("x-forwarded-for").unwrap(), "10.0.0.1, 192.0.2.7");
        assert_eq!(to.get("x-forwarded-proto").unwrap(), "https");
        assert_eq!(
            to.get("forwarded").unwrap(),
            "for=10.0.0.1, for=192.0.2.7;proto=http"
        );
    }

    #[test]
    fn repeated_fields_stay_repeated_and_in_order() {
        let mut to = HeaderMap::new();
        to_client(
            map(&[("set-cookie", "a=1"), ("set-cookie", "b=2")]),
            &mut to,
            StatusCode::OK,
            "id",
        );
        let cookies: Vec<_> = to.get_all("set-cookie").collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    #[test]
    fn an_id_that_would_break_a_log_is_not_taken() {
        assert_eq!(
            request_id(&map(&[("x-request-id", "abc-1")])),
            Some("abc-1")
        );
        assert_eq!(request_id(&map(&[("x-request-id", "a b")])), None);
        assert_eq!(
            request_id(&map(&[("x-request-id", &"x".repeat(129))])),
            None
        );
    }
}
