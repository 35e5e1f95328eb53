//! What a request passes through, in order: [`listener`], [`acceptor`] ([`connection_permit`], TCP options, [`tls`]), then
//! [`client_stream`] ([`lent_stream`]) for HTTP/1.1 or [`http2`], [`client`], [`handler`] (the main request handler) with the request's `context`,
//! [`target`], [`headers`], the store ([`stored`], and [`rendered`] for repeated requests) or [`admission`] (the rate limit) and
//! [`origin`], and for the response `relay` and [`body`]; [`error`] is the only place where an error becomes a status. [`policy`]
//! holds the settings in force; a [`worker`] is the state of one thread.

pub mod acceptor;
pub mod addresses;
pub mod admission;
pub mod answer_head;
mod between_requests;
pub mod body;
mod body_queue;
pub mod body_scan;
pub mod chunked;
pub mod client;
pub mod client_stream;
pub mod collector;
pub mod connection_limits;
pub mod connection_permit;
mod context;
pub mod continuation;
pub mod cors;
pub mod error;
pub mod flow;
pub mod framing;
pub mod handler;
pub mod handshakes;
mod head_deadline;
pub mod head_scan;
pub mod headers;
pub mod http2;
pub mod idle;
mod interim_heads;
pub mod later_version;
pub mod lent_stream;
pub mod line;
pub mod listener;
pub mod meter;
pub mod network;
pub mod origin;
pub mod policy;
pub mod prefix;
pub mod range;
pub mod raw_target;
pub mod read_ahead;
pub mod refusal;
mod relay;
pub mod rendered;
pub mod repair;
pub mod request_head;
pub mod request_reader;
pub mod roots;
pub mod send_watch;
pub mod served;
pub mod server;
pub mod stored;
pub mod target;
pub mod tcp;
pub mod tls;
pub mod trace;
pub mod transfers;
pub mod transport;
pub mod tunnel;
pub mod upgrades;
pub mod upload;
pub mod worker;
