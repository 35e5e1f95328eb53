//! fileproxy: a reverse proxy for files that keeps delivering when the network is bad.
//!
//! # The path
//!
//! ```text
//!  client                                                                                origin
//!    |                                                                                      |
//!    |--> path::listener, path::acceptor        the socket, its limits, options and TLS     |
//!    |    path::client_stream, path::http2      HTTP/1.1 or HTTP/2, with their limits       |
//!    |         |                                                                            |
//!    |    path::handler                         the whole way on one screen                 |
//!    |         |--> path::admission             the rate limit: leave now, a wait, or no    |
//!    |         |--> path::headers               what may pass this hop                      |
//!    |         |--> path::origin ---------------------------------------------- request --->|
//!    |         |      slots, pool, connect, exchange                                        |
//!    |         |<---- source <------------------------------------------------ response ----|
//!    |<-- path::body                            back-pressure, idle limit                   |
//!              |
//!         path::meter                           one sample on every way out
//! ```
//!
//! # The actors
//!
//! ```text
//!  path::meter --samples--> actors::Reporter --> MetricsWindow --summary, every tick--+--> QualityClassifier
//!                                                                                     |        | class
//!  api::admin --level--> Tuner <--level of other instances-- RedisPool                |        v
//!                          |                                                          |      Tuner
//!                          +--level---> RateLimiter <---------------------------------+
//!                          +--level---> RedisPool
//!                          |<--a candidate level is worse-- MetricsWindow
//!                          +--publishes--> traffic::published <--reads-- path, api
//! ```
//!
//! Actors decide and publish; the path reads what is published and never waits for a mailbox. They meet in
//! [`traffic`], which is pure: time is an argument, and neither a runtime nor a socket is known there.
//!
//! # The floors
//!
//! Imports go down only, and no files import each other in a circle; a test holds this.
//!
//! ```text
//!  main
//!  app (wires everything)   settings (sum of the modules' own)   telemetry   demo (an origin to try it with)
//!  path                     actors                               api
//!  traffic                  problem (RFC 9457)
//!  reloadable (settings)                units
//! ```
//!
//! On the floor of `path`, `path` takes [`actors::Reporter`] and nothing else of [`actors`]; [`api`] speaks to the actors,
//! and takes [`path::client`].

pub mod actors;
pub mod api;
pub mod app;
pub mod demo;
pub mod path;
mod problem;
pub mod reloadable;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod traffic;
pub mod units;
