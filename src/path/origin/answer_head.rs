//! Parses a response head from the origin without copying it.

use std::ops::Range;

use actix_http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use bytes::{Bytes, BytesMut};

use super::head_error::HeadError;
use crate::path::{
    framing::{Head, Malformed},
    repair::{Repaired, repair},
};

/// A response head.
#[derive(Debug)]
pub(super) struct AnswerHead {
    /// How the message is framed.
    pub(super) head: Head,
    /// The status.
    pub(super) status: StatusCode,
    /// The fields, with at most one Content-Length.
    pub(super) headers: HeaderMap,
}

impl AnswerHead {
    /// Takes a response head from the start of `buf`; `None` while it is incomplete. Violations that can be repaired are (see
    /// `repair`).
    ///
    /// # Errors
    ///
    /// [`HeadError`] for what is not an HTTP/1.x head, or longer than `max` bytes.
    pub(super) fn take(
        buf: &mut BytesMut,
        to_head: bool,
        max: usize,
    ) -> Result<Option<Self>, HeadError> {
        match Self::read(buf, to_head, max) {
            Err(HeadError::Malformed(error @ Malformed::Head(_))) => match repair(buf, max) {
                Repaired::Head(repaired) => {
                    *buf = repaired;
                    Self::read(buf, to_head, max)
                }
                Repaired::Incomplete => Ok(None),
                Repaired::Not => Err(error.into()),
            },
            read => read,
        }
    }

    fn read(buf: &mut BytesMut, to_head: bool, max: usize) -> Result<Option<Self>, HeadError> {
        let begin = buf.as_ptr() as usize;
        let mut fields: Vec<(Result<HeaderName, _>, Range<usize>)> = Vec::new();
        let head = Head::parse_with(buf, to_head, |name, value| {
            let at = value.as_ptr() as usize - begin;
            let name = HeaderName::from_bytes(name.as_bytes());
            fields.push((name, at..at + value.len()));
        })?;
        let len = head.map_or(buf.len(), |head| head.len);
        if len > max || head.is_none() && len == max {
            return Err(HeadError::TooLong(max));
        }
        let Some(head) = head else {
            return Ok(None);
        };
        let bytes = buf.split_to(head.len).freeze();
        let no_head = || Malformed::Head(httparse::Error::Status);
        let status = StatusCode::from_u16(head.status).map_err(|_| no_head())?;
        let mut headers = HeaderMap::with_capacity(fields.len());
        for (name, at) in fields {
            let name = name.map_err(|_| Malformed::Head(httparse::Error::HeaderName))?;
            if name == header::CONTENT_LENGTH {
                // All values are equal (RFC 9110 §8.6), or the head would have been refused.
                let value = bytes[at].split(|&b| b == b',').next().unwrap_or_default();
                headers.insert(name, value_of(bytes.slice_ref(value.trim_ascii()))?);
            } else {
                headers.append(name, value_of(bytes.slice(at))?);
            }
        }
        Ok(Some(AnswerHead {
            head,
            status,
            headers,
        }))
    }
}

fn value_of(bytes: Bytes) -> Result<HeaderValue, Malformed> {
    HeaderValue::from_maybe_shared(bytes).map_err(|_| Malformed::Head(httparse::Error::HeaderValue))
}
