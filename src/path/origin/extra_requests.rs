//! What may be requested of a body beside its first response, by that response and the settings.

use actix_http::{
    StatusCode,
    header::{self, HeaderMap},
};
use awc::FrozenClientRequest;

use super::worker::Origin;
use crate::path::{framing::Framing, range};

/// What may be requested of a body while its first response is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraRequests {
    /// Nothing: the URL identifies one client, and may be valid for so many requests only.
    Nothing,
    /// The rest, if the response stalls.
    Rest,
    /// The rest, and parts of it.
    Parts,
}

impl Origin {
    /// By the response to `head`, which declares the body's length or not.
    pub(super) fn extra_requests(
        &self,
        head: &FrozenClientRequest,
        status: StatusCode,
        headers: &HeaderMap,
        framing: Framing,
    ) -> ExtraRequests {
        if is_private_link(head.headers(), headers) {
            return ExtraRequests::Nothing;
        }
        let path = head.get_uri().path();
        // The path as the client sent it, without the origin's base path.
        let asked = path.strip_prefix(self.shared.settings.url.base());
        let in_parts = (status == StatusCode::PARTIAL_CONTENT || range::offered(headers))
            // A coding error near the end could otherwise put another response's bytes behind unverified ones.
            && matches!(framing, Framing::Length(_))
            && self.transfers().may_come_in_parts(asked.unwrap_or(path));
        match in_parts {
            true => ExtraRequests::Parts,
            false => ExtraRequests::Rest,
        }
    }
}

/// Whether a response is for one client only (RFC 9111 §5.2.2.5, §5.2.2.7) although the request has no credentials: then the URL
/// itself identifies the client, and such links are often valid for one download only.
fn is_private_link(asked: &HeaderMap, answered: &HeaderMap) -> bool {
    let says_who = asked.contains_key(header::AUTHORIZATION) || asked.contains_key(header::COOKIE);
    let is_private = |directive: &[u8]| {
        let name = directive.split(|&byte| byte == b'=').next();
        let name = name.unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"private") || name.eq_ignore_ascii_case(b"no-store")
    };
    !says_who
        && answered
            .get_all(header::CACHE_CONTROL)
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .any(is_private)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &'static str, value: &'static str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.append(name.parse().unwrap(), value.parse().unwrap());
        map
    }

    #[test]
    fn a_private_answer_to_nobody_in_particular_is_its_links() {
        let nobody = HeaderMap::new();
        for value in ["no-store", "max-age=0, Private", "private=\"x\""] {
            let answered = fields("cache-control", value);
            assert!(is_private_link(&nobody, &answered), "{value}");
            assert!(
                !is_private_link(&fields("cookie", "a=b"), &answered),
                "{value}"
            );
        }
        for value in ["public, max-age=60", "no-cache", "x-private"] {
            let answered = fields("cache-control", value);
            assert!(!is_private_link(&nobody, &answered), "{value}");
        }
    }
}
