//! Tags that origins give their responses so that they can be purged together: `Surrogate-Key` (separated by spaces) and
//! `Cache-Tag` (separated by commas). Compared byte for byte.

use actix_http::header::{HeaderMap, HeaderName};

/// The most tags of one response; further ones are ignored.
pub const MOST: usize = 64;

/// The longest tag in bytes; longer ones are ignored.
pub const LONGEST: usize = 256;

/// Tags separated by spaces.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Tags separated by commas.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// The tags of a response.
pub fn tags(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let by = |name, divider: u8| {
        let lines = fields.get_all(name);
        lines.flat_map(move |line| line.as_bytes().split(move |&byte| byte == divider))
    };
    (by(SURROGATE_KEY, b' ').chain(by(CACHE_TAG, b',')))
        .map(<[u8]>::trim_ascii)
        .filter(|tag| (1..=LONGEST).contains(&tag.len()))
        .take(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_divided_by_what_their_field_says() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            (SURROGATE_KEY, "a  b,c"),
            (SURROGATE_KEY, "d"),
            (CACHE_TAG, "e f, g,,"),
        ] {
            fields.append(name, value.parse().unwrap());
        }
        let found: Vec<_> = tags(&fields).collect();
        assert_eq!(found, [&b"a"[..], b"b,c", b"d", b"e f", b"g"]);
    }

    #[test]
    fn a_flood_of_tags_has_a_bound() {
        let mut fields = HeaderMap::new();
        fields.append(SURROGATE_KEY, "a ".repeat(1000).parse().unwrap());
        assert_eq!(tags(&fields).count(), MOST);
        fields.insert(SURROGATE_KEY, "a".repeat(LONGEST + 1).parse().unwrap());
        assert_eq!(tags(&fields).count(), 0);
    }
}
