//! A stored response that was sent to one client, kept so that identical requests get it again.

use std::{
    ops::Range,
    sync::{Arc, Weak},
    time::SystemTime,
};

use actix_http::{Method, StatusCode, Uri, header::HeaderValue};
use bytes::Bytes;

use super::head::{RenderedHead, Values};
use crate::{
    store::{
        directives::RequestDirectives, freshness::Use, head::Head, memory::Room, object::Object,
    },
    traffic::{keys::Keys, origin_id::OriginId},
};

/// Which part of an object answered a request completely from memory. Does not keep the object alive.
#[derive(Debug)]
pub struct Hit {
    /// The object.
    pub object: Weak<Object>,
    /// Its head at that time: validation and purge replace it.
    pub head: Weak<Head>,
    /// The cache directives of the request.
    pub directives: RequestDirectives,
    /// The range of its body that was sent; none without a body.
    pub part: Option<Range<u64>>,
    /// The status.
    pub status: StatusCode,
}

/// The request that was answered.
#[derive(Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The target, without its query.
    pub path: Uri,
    /// The keys that group it for the rate limit.
    pub keys: Keys,
    /// The origin it belongs to.
    pub origin: OriginId,
    /// Its id, if the client sent one.
    pub id: Option<HeaderValue>,
}

/// A response that can be repeated.
#[derive(Debug)]
pub struct RenderedResponse {
    hit: Hit,
    /// The request that was answered.
    pub asked: Asked,
    /// Whether it came over TLS, which is part of the store's key.
    pub secure: bool,
    head: RenderedHead,
    _room: Room,
}

/// What is sent: the object's status and body. The head comes from [`RenderedResponse::head`].
#[derive(Debug)]
pub struct Found {
    /// The object it comes from.
    pub object: Arc<Object>,
    /// The status.
    pub status: StatusCode,
    /// The pieces of the body, in order.
    pub body: Vec<Bytes>,
    age: u64,
    ttl: i64,
}

impl RenderedResponse {
    /// A response with this head. `room` is the memory reserved for it, at least [`RenderedResponse::cost`].
    pub fn new(hit: Hit, asked: Asked, secure: bool, head: RenderedHead, room: Room) -> Self {
        RenderedResponse {
            hit,
            asked,
            secure,
            head,
            _room: room,
        }
    }

    /// Bytes of memory that a response takes with this head, for a request head of `head_bytes`.
    pub fn cost(head: &RenderedHead, head_bytes: usize) -> u64 {
        (size_of::<Self>() + head.bytes() + head_bytes + 64) as u64
    }

    /// The response for an identical request; none if the normal way could give another one: the object is gone or was validated,
    /// it is no longer fresh for such a request, or part of it is not in memory.
    pub fn find(&self, now: SystemTime) -> Option<Found> {
        let object = self.hit.object.upgrade()?;
        let head = object.head();
        let is_same = Weak::as_ptr(&self.hit.head) == Arc::as_ptr(&head);
        if !is_same || object.is_gone() {
            return None;
        }
        if head.freshness.judge(&self.hit.directives, now) != Use::Fresh {
            return None;
        }
        let body = match &self.hit.part {
            Some(part) => object.in_memory(part)?,
            None => Vec::new(),
        };
        Some(Found {
            status: self.hit.status,
            body,
            age: head.freshness.age(now).as_secs(),
            ttl: head.freshness.ttl(now),
            object,
        })
    }

    /// The head of such a response, for the request with this id.
    pub fn head(&self, found: &Found, id: &HeaderValue) -> Vec<u8> {
        self.head.with(Values {
            age: found.age,
            ttl: found.ttl,
            id: id.to_str().unwrap_or_default(),
        })
    }
}
