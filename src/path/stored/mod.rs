//! Answers from the store, and fills it: [`front`] decides how to answer a request, `asker` requests what may be stored by a
//! [`fetcher`], [`fill`] writes the response into an object, [`reader`] delivers an object's bytes to one client, [`reply`] builds
//! the stored response for it, and [`cache_status`] says how it was obtained.

mod asker;
pub mod cache_status;
pub mod fetcher;
pub mod fill;
pub mod front;
pub mod invalidation;
pub mod reader;
pub mod reply;
