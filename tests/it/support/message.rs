//! As much of HTTP/1.1 as both ends of a test need, apart from what the proxy itself uses to read it.

use fileproxy_testbed::framing::Framing;
pub use fileproxy_testbed::head::{end as head_end, fields};

/// A response's status.
pub fn status(head: &[u8]) -> u16 {
    fileproxy_testbed::head::status(head)
        .unwrap_or_else(|| panic!("no status line: {:?}", String::from_utf8_lossy(head)))
}

/// What frames a body, by a response's head.
pub fn framing(head: &[u8]) -> Framing {
    Framing::of(head).unwrap_or_else(|| panic!("no length: {:?}", String::from_utf8_lossy(head)))
}

/// Moves what belongs to the body; whether it is whole. Behind broken coding it never is.
pub fn take(framing: &mut Framing, from: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while at < from.len() && !framing.is_over() {
        let Ok((used, part)) = framing.next(&from[at..]) else {
            from.clear();
            return false;
        };
        at += used;
        body.extend_from_slice(&from[at - part..at]);
    }
    from.drain(..at);
    framing.is_over()
}
