//! Answers out of the store, and fills it: [`front`] says who answers a request, `asker` asks for what may be kept, by
//! [`fetcher`], which makes the request, [`fill`] writes what comes into an object, [`reader`] hands an object's bytes to one client, [`reply`] says what a
//! stored response looks like to it, and [`cache_status`] how it came to be.

mod asker;
pub mod cache_status;
pub mod fetcher;
pub mod fill;
pub mod front;
pub mod invalidation;
pub mod reader;
pub mod reply;
