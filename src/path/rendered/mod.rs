//! Answers repeated requests from the store without actix-http: if a request head is byte for byte equal to one that was answered
//! from memory, the response is written at once from the same object.
//!
//! The first such request is handled in full. What actix-http writes for it becomes the template: [`head`] is its head with
//! placeholders, [`response`] has the rest and checks whether it is still valid, [`table`] is a thread's table of them by request
//! head, an [`answer`] is one being sent, and a [`repeater`] does all that for one connection.

pub mod answer;
pub mod head;
pub mod repeater;
pub mod response;
pub mod table;
