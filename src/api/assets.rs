//! What pages are made of: files inside the binary, and the headers that keep a page to itself.

use actix_web::{
    HttpResponse,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};

/// Scripts, styles and data from the proxy itself, nothing inline, nothing evaluated, no frame around it, and no text
/// that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file inside the binary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asset {
    /// Where it is served.
    pub path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

/// Every file.
pub(super) const ALL: [Asset; 1] = [Asset {
    path: "/monitor/style.css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("assets/style.css"),
}];

impl Asset {
    /// The answer to a GET of it.
    pub(super) fn response(self) -> HttpResponse {
        HttpResponse::Ok()
            .content_type(self.media_type)
            .insert_header((CACHE_CONTROL, "no-cache"))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .body(self.content)
    }
}

/// A page that runs nothing but the proxy's own files.
pub(super) fn page(html: impl Into<actix_web::web::Bytes>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .body(html.into())
}
