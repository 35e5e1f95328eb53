//! How a response came to be, as Cache-Status tells it (RFC 9211). Without the key, which would tell what others ask for.

use std::fmt::{self, Display, Formatter};

use actix_http::header::HeaderValue;

use crate::store::counters::Kind;

/// What this cache did for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// How it was answered.
    pub kind: Kind,
    /// How much longer the stored response is fresh, in seconds; negative: how long it has been stale.
    pub ttl: Option<i64>,
    /// Whether the response is kept.
    pub stored: bool,
    /// Whether some bytes are still to come from the origin.
    pub partial: bool,
}

impl CacheStatus {
    /// A request that the store has nothing to do with.
    pub const BYPASS: CacheStatus = CacheStatus {
        kind: Kind::Bypass,
        ttl: None,
        stored: false,
        partial: false,
    };

    /// The member that this cache adds to the field.
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
