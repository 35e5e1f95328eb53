//! What is known of a stored response that was given to one client, so that who asks by the same bytes gets it again.

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

/// What of an object answered a request that needed nothing but memory. The object is not kept by it.
#[derive(Debug)]
pub struct Hit {
    /// The object.
    pub object: Weak<Object>,
    /// Its head then: a validation or a purge gives it another.
    pub head: Weak<Head>,
    /// What the request said of stored responses.
    pub directives: RequestDirectives,
    /// The bytes of its body that were sent; none where no body follows.
    pub part: Option<Range<u64>>,
    /// The status.
    pub status: StatusCode,
}

/// The request that it answered.
#[derive(Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The target, without its query.
    pub path: Uri,
    /// Who asked for what.
    pub keys: Keys,
    /// The origin that the target belongs to.
    pub origin: OriginId,
    /// Its id, where the client gave it one.
    pub id: Option<HeaderValue>,
}

/// A response that can be given again.
#[derive(Debug)]
pub struct RenderedResponse {
    hit: Hit,
    /// The request that it answered.
    pub asked: Asked,
    /// Whether that came over TLS: the store's keys tell both apart.
    pub secure: bool,
    head: RenderedHead,
    _room: Room,
}

/// What is sent: the head without what makes it this response, and the body.
#[derive(Debug)]
pub struct Found {
    /// The object that it is out of.
    pub object: Arc<Object>,
    /// The status.
    pub status: StatusCode,
    /// The body, in order.
    pub body: Vec<Bytes>,
    age: u64,
    ttl: i64,
}

impl RenderedResponse {
    /// A response whose head is known. `room` is what it takes, at least [`RenderedResponse::cost`].
    pub fn new(hit: Hit, asked: Asked, secure: bool, head: RenderedHead, room: Room) -> Self {
        RenderedResponse {
            hit,
            asked,
            secure,
            head,
            _room: room,
        }
    }

    /// Bytes that a response with this head takes in memory, for a request head of so many bytes.
    pub fn cost(head: &RenderedHead, head_bytes: usize) -> u64 {
        (size_of::<Self>() + head.bytes() + head_bytes + 64) as u64
    }

    /// What a request by the same bytes gets; none where the whole way would not give it the same: the object is gone or was
    /// validated anew, it is not fresh any more for such a request, or some of it is not in memory.
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

    /// The head of such a response, to the request with this id.
    pub fn head(&self, found: &Found, id: &HeaderValue) -> Vec<u8> {
        self.head.with(Values {
            age: found.age,
            ttl: found.ttl,
            id: id.to_str().unwrap_or_default(),
        })
    }
}
