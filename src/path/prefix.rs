//! Compares path prefixes the way a server does that decodes and normalizes paths (RFC 3986 §6.2.2).

use std::borrow::Cow;

/// Whether `path` is `prefix` or lies below it. Whole segments are compared after percent-decoding, with `.` and `..` resolved and
/// empty segments removed.
pub fn lies_beneath(path: &str, prefix: &str) -> bool {
    segments(path).starts_with(&segments(prefix))
}

fn segments(path: &str) -> Vec<Cow<'_, [u8]>> {
    let mut all = Vec::new();
    for segment in path.split('/').map(decoded) {
        match &*segment {
            b"" | b"." => {}
            b".." => _ = all.pop(),
            _ => all.push(segment),
        }
    }
    all
}

fn decoded(segment: &str) -> Cow<'_, [u8]> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment.as_bytes());
    }
    let hex = |byte: Option<&u8>| byte.and_then(|&byte| (byte as char).to_digit(16));
    let mut bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        match (byte, hex(rest.first()), hex(rest.get(1))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                bytes = &rest[2..];
            }
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_segments_are_compared() {
        for path in ["/share", "/share/", "/share/a", "/share/a/b"] {
            assert!(lies_beneath(path, "/share"), "{path}");
            assert!(lies_beneath(path, "/share/"), "{path}");
        }
        for path in ["/", "/shared", "/a/share", "/Share", ""] {
            assert!(!lies_beneath(path, "/share"), "{path}");
        }
        assert!(lies_beneath("/any", "/"));
    }

    #[test]
    fn another_spelling_is_the_same_path() {
        for path in [
            "/sh%61re/a",
            "//share//a",
            "/./share",
            "/x/../share/a",
            "/x/%2E%2e/share",
        ] {
            assert!(lies_beneath(path, "/share"), "{path}");
        }
        for path in ["/share/../a", "/share%2Fa", "/share%zz", "/share%"] {
            assert!(!lies_beneath(path, "/share"), "{path}");
        }
        assert!(lies_beneath("/a b", "/a%20b"));
    }
}
