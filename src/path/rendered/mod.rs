//! Stored responses past actix-http: where a request comes whose head is byte for byte that of one that was answered out of
//! memory, its response is written at once, out of the same object.
//!
//! The first such request goes the whole way, which decides everything. What actix-http writes for it is the model: [`head`] is
//! its head with the values left open that change, [`response`] is what else there is to know, and says whether all of it still
//! holds, [`table`] has a thread's own, by the requests' heads, an [`answer`] is one on its way to a client, and a
//! [`repeater`] does all that for one connection.

pub mod answer;
pub mod head;
pub mod repeater;
pub mod response;
pub mod table;
