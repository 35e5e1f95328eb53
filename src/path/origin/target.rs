//! The keys under which the origin's behaviour is remembered for a request.

use actix_http::{
    header::{self, HeaderValue},
    uri::PathAndQuery,
};
use awc::FrozenClientRequest;

use crate::traffic::tolerance::Target;

/// The key for sizes: the target, and the content codings that the client accepts. A body that is coded on the fly has another size
/// and no ranges.
pub(super) fn kind_of(head: &FrozenClientRequest) -> (&str, Option<&[u8]>) {
    let target = head.get_uri().path_and_query();
    let codings = head.headers().get(header::ACCEPT_ENCODING);
    (
        target.map_or("/", PathAndQuery::as_str),
        codings.map(HeaderValue::as_bytes),
    )
}

/// The target, reduced to what similar targets have in common.
pub(super) fn target_of(head: &FrozenClientRequest) -> Target<'_> {
    let host = head.headers().get(header::HOST);
    let target = head.get_uri().path_and_query();
    Target::new(
        host.map_or(b"", HeaderValue::as_bytes),
        target.map_or("/", PathAndQuery::as_str),
    )
}
