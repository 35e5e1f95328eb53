//! Which requests a stored response answers, among those with the same key: by the fields in Vary (RFC 9111 §4.1) and, if the
//! response is not explicitly shareable, by every field that could have influenced it.

use actix_http::header::{self, HeaderMap, HeaderName};
use http::header::InvalidHeaderName;
use serde::{Deserialize, Serialize};

use super::{freshness::members_of, octets::Octets};

/// Fields that do not select a response: hop-by-hop ones, those that the proxy handles itself, and those that differ between
/// clients without meaning another response. RFC 9111 allows a shared cache to ignore all others too; but a response without cache
/// directives may depend on one of them (an API key, a session id), so they count.
const NEVER_SELECTING: [&str; 39] = [
    "accept-encoding",
    "accept-charset",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "device-memory",
    "dnt",
    "downlink",
    "ect",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "pragma",
    "priority",
    "purpose",
    "range",
    "rtt",
    "save-data",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    "x-playback-session-id",
];

/// Prefixes of such fields: what browsers send about themselves.
const NEVER_SELECTING_PREFIXES: [&str; 2] = ["sec-fetch-", "sec-ch-"];

/// What a request must have in common with the one that the response was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Variant {
    /// The fields in Vary, with their values in that request.
    selecting: Vec<(HeaderName, Box<[u8]>)>,
    /// All other relevant fields, sorted by name; none if the response is shareable.
    others: Option<Box<[u8]>>,
}

/// A variant as serialized on disk.
type Written = (Vec<(String, Octets)>, Option<Octets>);

impl From<Variant> for Written {
    fn from(variant: Variant) -> Self {
        let selecting = variant.selecting.into_iter();
        let selecting = selecting.map(|(name, value)| (name.to_string(), Octets(value)));
        (selecting.collect(), variant.others.map(Octets))
    }
}

impl TryFrom<Written> for Variant {
    type Error = InvalidHeaderName;

    fn try_from((selecting, others): Written) -> Result<Self, InvalidHeaderName> {
        let selecting = selecting.into_iter();
        let selecting = selecting.map(|(name, value)| Ok((HeaderName::try_from(name)?, value.0)));
        Ok(Variant {
            selecting: selecting.collect::<Result<_, _>>()?,
            others: others.map(|others| others.0),
        })
    }
}

/// Request fields that never matter, by setting: trace ids, counters.
pub type Ignored = [HeaderName];

impl Variant {
    /// The variant of a response to a request with the fields `asked`. `for_all`: the response is explicitly shareable.
    pub fn of(asked: &HeaderMap, response: &HeaderMap, for_all: bool, ignored: &Ignored) -> Self {
        let mut selecting: Vec<_> = members_of(response, &header::VARY)
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .map(|name| {
                let value = normal(&name, asked);
                (name, value)
            })
            .collect();
        if response.contains_key(header::CONTENT_ENCODING) {
            // A client that cannot decode the coding must not get it, even if Vary is missing.
            let value = normal(&header::ACCEPT_ENCODING, asked);
            selecting.push((header::ACCEPT_ENCODING, value));
        }
        selecting.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        selecting.dedup();
        Variant {
            selecting,
            others: (!for_all).then(|| others(asked, ignored)),
        }
    }

    /// Whether a request with these fields would have got the same response.
    pub fn answers(&self, fields: &HeaderMap, ignored: &Ignored) -> bool {
        let selected = (self.selecting.iter()).all(|(name, value)| normal(name, fields) == *value);
        selected
            && self
                .others
                .as_ref()
                .is_none_or(|known| **known == *others(fields, ignored))
    }

    /// Whether Vary contains a field of this kind.
    pub fn selects_by(&self, is_of_kind: impl Fn(&HeaderName) -> bool) -> bool {
        self.selecting.iter().any(|(name, _)| is_of_kind(name))
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let selecting = self.selecting.iter().map(|(_, value)| value.len() + 64);
        selecting.sum::<usize>() + self.others.as_ref().map_or(0, |others| others.len())
    }
}

/// The value of a field: all lines in order, without whitespace around commas, and in lower case where case does not matter (RFC
/// 9110 §12.5.3, §12.5.4).
fn normal(name: &HeaderName, fields: &HeaderMap) -> Box<[u8]> {
    let members: Vec<_> = members_of(fields, name).collect();
    let mut value = members.join(&b","[..]);
    if matches!(*name, header::ACCEPT_ENCODING | header::ACCEPT_LANGUAGE) {
        value.make_ascii_lowercase();
    }
    value.into()
}

/// Everything in a request that could influence the response: requests with the same key and equal values may wait for one
/// response.
pub fn asked_with(fields: &HeaderMap, ignored: &Ignored) -> Box<[u8]> {
    [&*coded_with(fields), &*others(fields, ignored)]
        .join(&0)
        .into()
}

/// The content codings that a request accepts: all that counts if responses are known to be shareable.
pub fn coded_with(fields: &HeaderMap) -> Box<[u8]> {
    normal(&header::ACCEPT_ENCODING, fields)
}

/// All relevant fields as one string.
fn others(fields: &HeaderMap, ignored: &Ignored) -> Box<[u8]> {
    let mut names: Vec<_> = (fields.keys())
        .filter(|name| !is_of_no_matter(name.as_str()) && !ignored.contains(name))
        .collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    let mut text = Vec::new();
    for name in names {
        for value in fields.get_all(name) {
            text.extend_from_slice(name.as_str().as_bytes());
            // A separator that cannot occur in a field.
            text.push(0);
            text.extend_from_slice(value.as_bytes());
            text.push(0);
        }
    }
    text.into()
}

fn is_of_no_matter(name: &str) -> bool {
    NEVER_SELECTING.contains(&name)
        || NEVER_SELECTING_PREFIXES
            .iter()
            .any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        fields
    }

    fn answers(vary: &'static str, for_all: bool, asked: &HeaderMap, other: &HeaderMap) -> bool {
        let response = if vary.is_empty() {
            HeaderMap::new()
        } else {
            fields(&[("vary", vary)])
        };
        Variant::of(asked, &response, for_all, &[]).answers(other, &[])
    }

    #[test]
    fn the_fields_that_vary_names_must_be_the_same_in_all_of_their_lines() {
        let asked = fields(&[
            ("accept", "a, b"),
            ("accept", "c"),
            ("accept-language", "de"),
        ]);
        let same = fields(&[
            ("accept", "a,b ,c"),
            ("accept-language", "DE"),
            ("user-agent", "x"),
        ]);
        assert!(answers("Accept, accept-language", true, &asked, &same));
        for other in [
            fields(&[("accept", "a, b"), ("accept-language", "de")]),
            fields(&[("accept", "c, a, b"), ("accept-language", "de")]),
            fields(&[("accept", "a, b, c"), ("accept-language", "en")]),
            HeaderMap::new(),
        ] {
            assert!(
                !answers("Accept, accept-language", true, &asked, &other),
                "{other:?}"
            );
        }
    }

    #[test]
    fn where_the_response_is_silent_no_other_key_or_session_gets_it() {
        let plain = fields(&[("user-agent", "a"), ("host", "h")]);
        for name in [
            "x-api-key",
            "x-auth-token",
            "private-token",
            "x-session-id",
            "origin",
            "accept",
            "x-forwarded-user",
        ] {
            let own = fields(&[(name, "alice"), ("user-agent", "b")]);
            let anothers = fields(&[(name, "bob"), ("user-agent", "b")]);
            assert!(!answers("", false, &own, &plain), "{name}");
            assert!(!answers("", false, &plain, &own), "{name}");
            assert!(!answers("", false, &own, &anothers), "{name}");
            assert!(answers("", false, &own, &own), "{name}");
            assert!(answers("", true, &own, &anothers), "{name}");
        }
    }

    #[test]
    fn what_every_client_tells_of_itself_does_not_matter() {
        let one = fields(&[
            ("user-agent", "a"),
            ("sec-fetch-mode", "cors"),
            ("range", "bytes=0-1"),
        ]);
        assert!(answers(
            "",
            false,
            &one,
            &fields(&[("user-agent", "c"), ("x-request-id", "7")])
        ));
    }

    #[test]
    fn a_coded_response_is_only_for_who_takes_the_same_codings() {
        let asked = fields(&[("accept-encoding", "gzip, br")]);
        let coded = fields(&[("content-encoding", "gzip")]);
        let variant = Variant::of(&asked, &coded, true, &[]);
        assert!(variant.answers(&fields(&[("accept-encoding", "GZIP,br")]), &[]));
        assert!(!variant.answers(&HeaderMap::new(), &[]));
    }

    #[test]
    fn two_fields_are_not_taken_for_one() {
        let one = fields(&[("x-a", "1"), ("x-b", "2")]);
        let other = fields(&[("x-a", "1x-b2")]);
        assert!(!answers("", false, &one, &other));
    }

    #[test]
    fn an_operator_names_fields_that_never_matter() {
        let ignored = [HeaderName::from_static("x-counter")];
        let of = |value| fields(&[("x-counter", value)]);
        let variant = Variant::of(&of("1"), &HeaderMap::new(), false, &ignored);
        assert!(variant.answers(&of("2"), &ignored));
        assert!(!Variant::of(&of("1"), &HeaderMap::new(), false, &[]).answers(&of("2"), &[]));
    }
}
