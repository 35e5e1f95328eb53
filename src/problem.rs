//! Error responses of the proxy: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode, Uri,
        header::{CACHE_CONTROL, HeaderValue},
    },
};
use serde::Serialize;
use utoipa::ToSchema;

/// The body of an error response made by the proxy. Error responses of the origin are passed on unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The problem type, a URI: `about:blank` means that it is described by the status.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "about:blank")]
    pub kind: Cow<'static, str>,
    /// The status in words, the same for every problem of a type.
    #[schema(value_type = String)]
    pub title: Cow<'static, str>,
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    pub status: StatusCode,
    /// What happened, and what to do.
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
    /// The requested path, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl Problem {
    /// The media type.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// A problem with this status and explanation.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status,
            detail: detail.into(),
            instance: None,
        }
    }

    /// The same problem with the request's path.
    #[must_use]
    pub fn at(mut self, uri: &Uri) -> Self {
        self.instance = Some(uri.path().to_owned());
        self
    }

    /// A response builder with status and headers, for callers that add more headers.
    pub fn builder(&self) -> HttpResponseBuilder {
        let mut builder = HttpResponse::build(self.status);
        builder
            .content_type(Self::MEDIA_TYPE)
            .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        builder
    }

    /// The body.
    pub fn body(&self) -> String {
        // Strings and a number can always be serialized.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The whole response as HTTP/1.1 bytes, for a connection whose request could not be parsed; it closes the connection.
    pub fn wire(&self) -> Vec<u8> {
        let body = self.body();
        format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{body}",
            self.status.as_u16(),
            self.status.canonical_reason().unwrap_or("Error"),
            Self::MEDIA_TYPE,
            body.len(),
        )
        .into_bytes()
    }

    /// The whole response.
    pub fn into_response(self) -> HttpResponse {
        self.builder().body(self.body())
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "try again in 2 s");
        let body: serde_json::Value = serde_json::from_str(&problem.body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "try again in 2 s",
            })
        );
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(
            response.headers().get("content-type").unwrap(),
            Problem::MEDIA_TYPE
        );
    }
}
