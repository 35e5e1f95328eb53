//! By what of a request the origin's answers are remembered.

use actix_http::{
    header::{self, HeaderValue},
    uri::PathAndQuery,
};
use awc::FrozenClientRequest;

use crate::traffic::tolerance::Target;

/// What the sizes are kept by: the target, and the codings that the client takes. A body that is coded on the fly has
/// another size, and no ranges.
pub(super) fn kind_of(head: &FrozenClientRequest) -> (&str, Option<&[u8]>) {
    let target = head.get_uri().path_and_query();
    let codings = head.headers().get(header::ACCEPT_ENCODING);
    (
        target.map_or("/", PathAndQuery::as_str),
        codings.map(HeaderValue::as_bytes),
    )
}

/// The target, as far as others are like it.
pub(super) fn target_of(head: &FrozenClientRequest) -> Target<'_> {
    let host = head.headers().get(header::HOST);
    let target = head.get_uri().path_and_query();
    Target::new(
        host.map_or(b"", HeaderValue::as_bytes),
        target.map_or("/", PathAndQuery::as_str),
    )
}
