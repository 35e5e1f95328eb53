//! The service as a whole, from outside: real sockets, a real origin, a real Redis.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says by its name what it proves, and by a panic that it is not so"
)]

mod actors;
mod adaptation;
mod ahead;
mod brokenness;
mod canary;
mod chart;
mod command_line;
mod compose;
mod connections;
mod cost;
mod dashboard;
mod demo;
mod description;
mod docs;
mod drain;
mod duplex;
mod early;
mod examples;
mod fairness;
mod floors;
mod forwarding;
mod http2;
mod interim;
mod joined;
mod kubernetes;
mod limits;
mod listeners;
mod log;
mod metrics;
mod odd_heads;
mod operators;
mod outage;
mod packaging;
mod parts;
mod places;
mod prefetch;
mod properties;
mod purge;
mod redis;
mod refusals;
mod reload;
mod repeated;
mod requests;
mod rule;
mod settings;
mod store;
mod stream;
mod support;
mod systemd;
mod targets;
mod thresholds;
mod tls;
mod traces;
mod transfers;
mod turns;
mod two_origins;
mod upgrades;
mod wholeness;
