//! The Cache-Status field (RFC 9211): how a response was obtained. Without the key, which would reveal what other clients request.

use std::fmt::{self, Display, Formatter};

use actix_http::header::HeaderValue;

use crate::store::counters::Kind;

/// How this cache handled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// The kind of answer.
    pub kind: Kind,
    /// Remaining freshness in seconds; negative if stale.
    pub ttl: Option<i64>,
    /// Whether the response is stored.
    pub stored: bool,
    /// Whether some bytes must still be fetched from the origin.
    pub partial: bool,
}

impl CacheStatus {
    /// For a request that the store does not handle.
    pub const BYPASS: CacheStatus = CacheStatus {
        kind: Kind::Bypass,
        ttl: None,
        stored: false,
        partial: false,
    };

    /// This cache's member of the field.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).unwrap_or(HeaderValue::from_static("fileproxy"))
    }
}

impl Display for CacheStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("fileproxy")?;
        match self.kind {
            Kind::Fresh | Kind::StaleWhile | Kind::StaleError | Kind::StaleSlow => {
                f.write_str(if self.partial {
                    "; fwd=partial"
                } else {
                    "; hit"
                })?;
            }
            Kind::Revalidated => f.write_str("; fwd=stale; fwd-status=304")?,
            Kind::Miss => f.write_str("; fwd=uri-miss")?,
            Kind::Joined => f.write_str("; fwd=uri-miss; collapsed")?,
            Kind::Bypass => f.write_str("; fwd=bypass")?,
        }
        if self.stored {
            f.write_str("; stored")?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={ttl}")?;
        }
        match self.kind {
            Kind::StaleError => f.write_str("; detail=origin-away"),
            Kind::StaleSlow => f.write_str("; detail=origin-late"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_has_the_words_of_the_rfc() {
        let status = |kind, ttl, stored, partial| {
            CacheStatus {
                kind,
                ttl,
                stored,
                partial,
            }
            .to_string()
        };
        assert_eq!(
            status(Kind::Fresh, Some(12), false, false),
            "fileproxy; hit; ttl=12"
        );
        assert_eq!(
            status(Kind::Fresh, Some(12), true, true),
            "fileproxy; fwd=partial; stored; ttl=12"
        );
        assert_eq!(
            status(Kind::StaleError, Some(-40), false, false),
            "fileproxy; hit; ttl=-40; detail=origin-away"
        );
        assert_eq!(
            status(Kind::Joined, None, true, false),
            "fileproxy; fwd=uri-miss; collapsed; stored"
        );
        assert_eq!(CacheStatus::BYPASS.to_string(), "fileproxy; fwd=bypass");
    }
}
