//! The files of the web pages, which are part of the binary, and the security headers of a page.

use actix_web::{
    HttpResponse,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};

/// The Content-Security-Policy: scripts, styles and data from the proxy alone, nothing inline, no `eval`, no frame around the
/// page, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file in the binary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asset {
    /// Its URL path.
    pub path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal, $media_type:expr, $file:literal) => {
        Asset {
            path: concat!("/monitor/", $name),
            media_type: $media_type,
            content: include_str!(concat!("assets/", $file)),
        }
    };
}

/// All files. uPlot is unmodified.
pub(super) const ALL: [Asset; 14] = [
    asset!("icon.svg", "image/svg+xml", "icon.svg"),
    asset!("style.css", CSS, "style.css"),
    asset!("monitor.css", CSS, "monitor.css"),
    asset!("monitor.js", SCRIPT, "monitor.js"),
    asset!("charts.js", SCRIPT, "charts.js"),
    asset!("history.js", SCRIPT, "history.js"),
    asset!("purging.js", SCRIPT, "purging.js"),
    asset!("steering.js", SCRIPT, "steering.js"),
    asset!("stream.js", SCRIPT, "stream.js"),
    asset!("tables.js", SCRIPT, "tables.js"),
    asset!("units.js", SCRIPT, "units.js"),
    asset!("uplot.js", SCRIPT, "uplot/uPlot.iife.min.js"),
    asset!("uplot.css", CSS, "uplot/uPlot.min.css"),
    asset!(
        "uplot-license.txt",
        "text/plain; charset=utf-8",
        "uplot/LICENSE"
    ),
];

impl Asset {
    /// The response to a GET of the file.
    pub(super) fn response(self) -> HttpResponse {
        HttpResponse::Ok()
            .content_type(self.media_type)
            .insert_header((CACHE_CONTROL, "no-cache"))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .body(self.content)
    }
}

/// The response with a page and its security headers.
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
