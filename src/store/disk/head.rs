//! An object's head in the journal: everything but its body. In memory there is only its position.

use std::time::{Duration, SystemTime};

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::id::Id;
use crate::store::{
    freshness::Freshness, key::Key, octets::Octets, validator::Validator, variant::Variant,
};

/// Everything of an object but its body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredHead {
    /// Which object.
    pub id: Id,
    /// Increases with each head and purge: a purge affects heads with lower numbers.
    pub serial: u64,
    /// The key it is stored under.
    pub key: Key,
    /// Which requests it answers.
    pub variant: Variant,
    /// Its strong validator, if it has one: the same validator means the same bytes.
    pub validator: Option<Validator>,
    /// Complete length of its body, if it was known.
    pub length: Option<u64>,
    /// Its status.
    pub status: u16,
    /// Its fields.
    #[serde(with = "fields")]
    pub fields: HeaderMap,
    /// How long it may be used.
    pub freshness: Freshness,
    /// When it was stored or last validated.
    #[serde(with = "millis")]
    pub validated: SystemTime,
    /// When it was first stored.
    #[serde(with = "millis")]
    pub stored: SystemTime,
}

impl StoredHead {
    /// Memory it takes while it waits to be written, in bytes.
    pub fn bytes(&self) -> usize {
        let lines = self.fields.iter();
        let fields = lines.map(|(name, value)| name.as_str().len() + value.len() + 64);
        size_of::<Self>() + self.key.bytes() + self.variant.bytes() + fields.sum::<usize>()
    }
}

/// Header fields as a list of names and values.
mod fields {
    use super::*;

    pub fn serialize<S: Serializer>(fields: &HeaderMap, to: S) -> Result<S::Ok, S::Error> {
        // Sorted by name, so that equal heads give equal lines; values of one field keep their order.
        let mut lines: Vec<_> = fields.iter().collect();
        lines.sort_by_key(|(name, _)| name.as_str());
        let lines = lines.into_iter();
        to.collect_seq(lines.map(|(name, value)| (name.as_str(), Octets::from(value.as_bytes()))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<HeaderMap, D::Error> {
        let lines = Vec::<(String, Octets)>::deserialize(from)?;
        let mut fields = HeaderMap::with_capacity(lines.len());
        for (name, value) in lines {
            let name = HeaderName::try_from(name).map_err(de::Error::custom)?;
            let value = HeaderValue::from_bytes(&value.0).map_err(de::Error::custom)?;
            fields.append(name, value);
        }
        Ok(fields)
    }
}

/// A time as milliseconds since 1970.
mod millis {
    use super::*;

    pub fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        to.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let since = Duration::from_millis(u64::deserialize(from)?);
        let time = SystemTime::UNIX_EPOCH.checked_add(since);
        time.ok_or_else(|| de::Error::custom("a time beyond all times"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use actix_http::{Method, StatusCode};

    use super::*;
    use crate::store::{
        directives::RequestDirectives,
        freshness::{Asked, Exchanged, Rules},
    };

    /// The head of a response with ETag `"a"`.
    pub fn head(target: &str) -> StoredHead {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("etag", &b"\"a\""[..]),
            ("cache-control", b"max-age=60"),
            ("x-name", b"caf\xe9"),
            ("x-name", b"twice"),
        ] {
            let value = HeaderValue::from_bytes(value).unwrap();
            fields.append(HeaderName::from_static(name), value);
        }
        let mut asked = HeaderMap::new();
        asked.append(
            HeaderName::from_static("accept"),
            HeaderValue::from_static("text/html"),
        );
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let freshness = Freshness::of(
            Asked {
                method: &Method::GET,
                credentials: false,
                directives: &RequestDirectives::default(),
            },
            StatusCode::OK,
            &fields,
            Exchanged {
                asked: now,
                answered: now,
            },
            &Rules {
                targeted: Vec::new(),
                heuristic_max: Duration::ZERO,
                error_max: Duration::ZERO,
                stale_if_error: Duration::from_secs(3600),
            },
        );
        StoredHead {
            id: Id(7),
            serial: 1,
            key: Key::new(&"default".into(), true, "h", target),
            variant: Variant::of(&asked, &fields, false, &[]),
            validator: Some(Validator::Tag(HeaderValue::from_static("\"a\""))),
            length: Some(5),
            status: 200,
            freshness: freshness.unwrap(),
            fields,
            validated: now,
            stored: now,
        }
    }

    #[test]
    fn a_head_comes_back_as_it_was() {
        let head = head("/a");
        let json = serde_json::to_string(&head).unwrap();
        let back: StoredHead = serde_json::from_str(&json).unwrap();
        assert_eq!(back.key, head.key);
        assert_eq!(back.variant, head.variant);
        assert_eq!(back.freshness, head.freshness);
        assert_eq!(back.validator, head.validator);
        assert_eq!((back.validated, back.stored), (head.validated, head.stored));
        let names: Vec<_> = back.fields.get_all("x-name").collect();
        assert_eq!(names, head.fields.get_all("x-name").collect::<Vec<_>>());
        assert_eq!(back.fields.len(), head.fields.len());
    }
}
