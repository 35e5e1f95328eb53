//! Which header fields are forwarded, and which are added (RFC 9110 §7.6, RFC 7239). Pure.

use std::net::IpAddr;

use actix_http::{
    StatusCode, Version,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use ipnet::IpNet;

/// The proxy's pseudonym in Via, behind the received protocol version.
const NAME: &str = " fileproxy";
/// The Via entry for messages received over HTTP/1.1.
const VIA: &str = "1.1 fileproxy";
/// The Via entry for messages received over HTTP/2.
const VIA_2: &str = "2.0 fileproxy";

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked for.
pub static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The client's address, as some other proxies send it.
const REAL_IP: &str = "x-real-ip";
/// The request id: the client's own, or a new one.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is accepted from a client, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// What the proxy itself knows about the sender of a request.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The peer's address, as a value of X-Forwarded-For.
    pub address: &'a HeaderValue,
    /// Whether the peer's X-Forwarded-* and Forwarded fields are trusted.
    pub trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// HTTP version of the request.
    pub version: Version,
}

/// Whether an address belongs to a trusted proxy.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// Whether a field is always hop-by-hop, even if Connection does not name it (RFC 9110 §7.6.1).
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

/// Whether a name could be confused with a field that the proxy sets or removes. In CGI-like environment variables (RFC 3875
/// §4.1.18) both `-` and `_` become `_`, so `X_Forwarded_For` would replace X-Forwarded-For.
fn is_alias(name: &HeaderName) -> bool {
    let name = name.as_str();
    if !name.contains('_') {
        return false;
    }
    let meant = name.replace('_', "-");
    meant.starts_with("x-forwarded-")
        || matches!(
            meant.as_str(),
            "x-real-ip"
                | "x-request-id"
                | "content-length"
                | "transfer-encoding"
                | "proxy-connection"
                | "proxy-authorization"
                | "keep-alive"
        )
}

/// The field names listed in Connection.
fn named(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "close" && name != "keep-alive")
        .collect()
}

/// Turns a client's request fields into those sent to the origin. `host` replaces the client's own Host.
pub fn to_origin(
    headers: &mut HeaderMap,
    client: Client<'_>,
    host: Option<&HeaderValue>,
    id: &HeaderValue,
) {
    let named = named(headers);
    let asked = headers.get(header::HOST).cloned();
    let via = match client.version {
        Version::HTTP_2 => VIA_2,
        _ => VIA,
    };
    let via = joined(headers, &header::VIA, via.as_bytes());
    headers.retain(|name, _| {
        !(is_hop_by_hop(name)
            || is_alias(name)
            || *name == header::EXPECT
            || *name == header::CONTENT_LENGTH
            || !client.trusted && tells_way(name)
            || named.iter().any(|n| n == name.as_str()))
    });
    // Added last, so that the client's Connection field cannot remove them.
    forward(headers, client, asked.as_ref());
    if let Some(host) = host.or(asked.as_ref()) {
        headers.insert(header::HOST, host.clone());
    }
    headers.insert(header::VIA, via);
    headers.insert(REQUEST_ID.clone(), id.clone());
}

/// Whether a field describes the route of a request: accepted only from trusted proxies.
fn tells_way(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == header::FORWARDED || text.starts_with("x-forwarded-") || text == REAL_IP
}

/// Whether the proxy sets this field for each request (client address, request id), so that its value differs between requests that
/// are otherwise identical.
pub fn is_set_here(name: &HeaderName) -> bool {
    tells_way(name) || *name == REQUEST_ID
}

/// Adds X-Forwarded-* and Forwarded (RFC 7239) for the sender; appended to what a trusted proxy sent.
fn forward(headers: &mut HeaderMap, client: Client<'_>, host: Option<&HeaderValue>) {
    let address = client.address.as_bytes();
    let all = match headers.contains_key(&FORWARDED_FOR) {
        true => joined(headers, &FORWARDED_FOR, address),
        false => client.address.clone(),
    };
    headers.insert(FORWARDED_FOR.clone(), all);
    if !headers.contains_key(&FORWARDED_PROTO) {
        headers.insert(
            FORWARDED_PROTO.clone(),
            HeaderValue::from_static(client.scheme),
        );
    }
    if !headers.contains_key(&FORWARDED_HOST)
        && let Some(host) = host
    {
        headers.insert(FORWARDED_HOST.clone(), host.clone());
    }

    let mut hop = Vec::with_capacity(64);
    let is_v6 = address.contains(&b':');
    hop.extend_from_slice(if is_v6 { b"for=\"[" } else { b"for=" });
    hop.extend_from_slice(address);
    hop.extend_from_slice(if is_v6 { b"]\"" } else { b"" });
    if let Some(host) = host.map(HeaderValue::as_bytes)
        && !host.iter().any(|b| matches!(b, b'"' | b'\\'))
    {
        hop.extend_from_slice(b";host=\"");
        hop.extend_from_slice(host);
        hop.push(b'"');
    }
    hop.extend_from_slice(b";proto=");
    hop.extend_from_slice(client.scheme.as_bytes());
    let all = joined(headers, &header::FORWARDED, &hop);
    headers.insert(header::FORWARDED, all);
}

/// The values of a list field, with one appended.
fn joined(from: &HeaderMap, name: &HeaderName, last: &[u8]) -> HeaderValue {
    let mut list = Vec::with_capacity(last.len());
    for value in from.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(last);
    HeaderValue::from_maybe_shared(bytes::Bytes::from(list))
        .unwrap_or(HeaderValue::from_static("unknown"))
}

/// Turns an origin's response fields into those sent to the client. Content-Length is removed: it is set from the body's size.
pub fn to_client(headers: &mut HeaderMap, status: StatusCode, id: &HeaderValue) {
    let named = named(headers);
    // In a 304 Content-Length describes the body that is not sent (RFC 9110 §15.4.5).
    let keeps_length = status == StatusCode::NOT_MODIFIED;
    let via = match headers.contains_key(header::VIA) {
        true => joined(headers, &header::VIA, VIA.as_bytes()),
        false => HeaderValue::from_static(VIA),
    };
    headers.retain(|name, _| {
        !(is_hop_by_hop(name)
            || (*name == header::CONTENT_LENGTH && !keeps_length)
            || named.iter().any(|n| n == name.as_str()))
    });
    headers.insert(header::VIA, via);
    if !headers.contains_key(&REQUEST_ID) {
        headers.insert(REQUEST_ID.clone(), id.clone());
    }
}

/// Turns the fields of an interim response into those sent to the client.
pub fn to_client_early(headers: &mut HeaderMap) {
    let named = named(headers);
    headers.retain(|name, _| {
        !(is_hop_by_hop(name)
            || *name == header::CONTENT_LENGTH
            || named.iter().any(|n| n == name.as_str()))
    });
}

/// The request id that the client sent, if it is safe to log.
pub fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let id = headers.get(&REQUEST_ID)?;
    let fits = !id.is_empty()
        && id.len() <= MAX_REQUEST_ID
        && id.as_bytes().iter().all(u8::is_ascii_graphic);
    fits.then_some(id)
}

/// The value of Content-Length; the first number of a list.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .split(',')
        .next()?
        .trim()
        .parse()
        .ok()
}

/// How often this proxy is in Via already; more than once means a forwarding loop.
pub fn passes_so_far(headers: &HeaderMap) -> usize {
    headers
        .get_all(header::VIA)
        .filter_map(|value| value.to_str().ok())
        .map(|value| value.matches(NAME).count())
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

    fn sent(fields: &[(&str, &str)], trusted: bool) -> HeaderMap {
        let address = HeaderValue::from_static("192.0.2.7");
        let client = Client {
            address: &address,
            trusted,
            scheme: "http",
            version: Version::HTTP_11,
        };
        let mut headers = map(fields);
        let (host, id) = (
            HeaderValue::from_static("origin"),
            HeaderValue::from_static("id-1"),
        );
        to_origin(&mut headers, client, Some(&host), &id);
        headers
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
            ("x-real-ip", "10.0.0.1"),
            ("x-forwarded-port", "444"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let to = sent(&lies, false);
        for gone in ["x-real-ip", "x-forwarded-port", "x-forwarded-prefix"] {
            assert!(!to.contains_key(gone), "{gone}");
        }
        assert_eq!(to.get("x-forwarded-for").unwrap(), "192.0.2.7");
        assert_eq!(to.get("x-forwarded-proto").unwrap(), "http");
        assert_eq!(to.get("forwarded").unwrap(), "for=192.0.2.7;proto=http");
    }

    #[test]
    fn no_other_spelling_of_what_this_hop_says_passes() {
        let lies = [
            ("x_forwarded_for", "10.0.0.1"),
            ("X-Forwarded_For", "10.0.0.1"),
            ("x_forwarded-proto", "https"),
            ("x_real_ip", "10.0.0.1"),
            ("x_request_id", "1"),
            ("content_length", "5"),
            ("transfer_encoding", "chunked"),
            ("my_own", "kept"),
        ];
        for trusted in [false, true] {
            let to = sent(&lies, trusted);
            let odd: Vec<_> = to
                .keys()
                .filter(|name| name.as_str().contains('_'))
                .collect();
            assert_eq!(odd, ["my_own"]);
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added() {
        let said = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let to = sent(&said, true);
        assert_eq!(to.get("x-real-ip").unwrap(), "10.0.0.1");
        assert_eq!(to.get("x-forwarded-for").unwrap(), "10.0.0.1, 192.0.2.7");
        assert_eq!(to.get("x-forwarded-proto").unwrap(), "https");
        assert_eq!(
            to.get("forwarded").unwrap(),
            "for=10.0.0.1, for=192.0.2.7;proto=http"
        );
    }

    #[test]
    fn repeated_fields_stay_repeated_and_in_order() {
        let mut to = map(&[("set-cookie", "a=1"), ("set-cookie", "b=2")]);
        to_client(&mut to, StatusCode::OK, &HeaderValue::from_static("id"));
        let cookies: Vec<_> = to.get_all("set-cookie").collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    #[test]
    fn an_id_that_would_break_a_log_is_not_taken() {
        assert_eq!(
            request_id(&map(&[("x-request-id", "abc-1")])),
            Some(&HeaderValue::from_static("abc-1"))
        );
        assert_eq!(request_id(&map(&[("x-request-id", "a b")])), None);
        assert_eq!(
            request_id(&map(&[("x-request-id", &"x".repeat(129))])),
            None
        );
    }
}
