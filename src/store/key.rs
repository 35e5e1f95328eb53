//! The key of a stored response: the primary cache key of RFC 9111 §2.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Group of origins, scheme, host and target, as clients send them.
///
/// The target is neither decoded nor normalized: the meaning of `..`, `%2f` and `//` is up to the origin, so two spellings are two
/// keys, and no request can be disguised as another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct Key {
    /// Name of the group of origins: mirrors of each other share what is stored.
    group: Arc<str>,
    /// Whether the scheme is https.
    secure: bool,
    /// The client's Host in lower case, without the default port.
    host: Box<str>,
    /// Path and query, byte for byte.
    target: Box<str>,
}

/// A key as serialized on disk: group, https, host, target.
type Written = (String, bool, Box<str>, Box<str>);

impl From<Key> for Written {
    fn from(key: Key) -> Self {
        (key.group.to_string(), key.secure, key.host, key.target)
    }
}

impl From<Written> for Key {
    fn from((group, secure, host, target): Written) -> Self {
        Key {
            group: group.into(),
            secure,
            host,
            target,
        }
    }
}

impl Key {
    /// The key for `target` at `host`.
    pub fn new(group: &Arc<str>, secure: bool, host: &str, target: &str) -> Self {
        let port = if secure { ":443" } else { ":80" };
        let host = host.strip_suffix(port).unwrap_or(host);
        Key {
            group: Arc::clone(group),
            secure,
            host: host.to_ascii_lowercase().into(),
            target: target.into(),
        }
    }

    /// The key for an absolute URL as clients use it; none if it is not an http or https URL with a host.
    pub fn of_url(group: &Arc<str>, url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(at);
        if host.is_empty() || host.contains('@') {
            return None;
        }
        let target = match target.as_bytes().first() {
            None => "/".to_owned(),
            Some(b'?') => format!("/{target}"),
            Some(_) => target.to_owned(),
        };
        Some(Key::new(group, secure, host, &target))
    }

    /// The key for a URL reference in a response to this key; none if it names another host.
    pub fn beside(&self, reference: &str) -> Option<Self> {
        let reference = reference.trim();
        let other = if reference.contains("://") {
            Self::of_url(&self.group, reference)?
        } else {
            let (.., directory) = self.directory();
            let target = match reference.split('#').next()? {
                // Another host, with the same scheme.
                other if other.starts_with("//") => return None,
                path if path.starts_with('/') => without_dots(path),
                relative => without_dots(&format!("{directory}/{relative}")),
            };
            Self::new(&self.group, self.secure, &self.host, &target)
        };
        (other.host == self.host && other.secure == self.secure).then_some(other)
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The absolute URL.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.host, self.target)
    }

    /// Whether the URL begins with `prefix`, an absolute URL as written by [`Key::url`].
    pub fn starts_with(&self, prefix: &str) -> bool {
        self.url().starts_with(prefix)
    }

    /// Group, scheme, host and the path up to its last slash.
    pub fn directory(&self) -> (&str, bool, &str, &str) {
        let path = self.target.split('?').next().unwrap_or_default();
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        (&self.group, self.secure, &self.host, directory)
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.host.len() + self.target.len()
    }
}

/// A path without `.` and `..` segments (RFC 3986 §5.2.4), as clients resolve references; the query is unchanged.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut kept = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => _ = kept.pop(),
            segment => kept.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secure: bool, host: &str, target: &str) -> Key {
        Key::new(&"default".into(), secure, host, target)
    }

    fn url(url: &str) -> Option<Key> {
        Key::of_url(&"default".into(), url)
    }

    #[test]
    fn a_reference_is_followed_at_the_same_host_alone() {
        let from = key(false, "h", "/a/b?c=/d");
        let beside = |reference| from.beside(reference).map(|key| key.url());
        for (reference, url) in [
            ("/x", "http://h/x"),
            ("x?y#z", "http://h/a/x?y"),
            ("../x/./y?../z", "http://h/x/y?../z"),
            ("..", "http://h/"),
            ("http://H:80/x", "http://h/x"),
        ] {
            assert_eq!(beside(reference).as_deref(), Some(url));
        }
        for other in ["https://h/x", "http://g/x", "//g/x", "ftp://h/x"] {
            assert_eq!(beside(other), None, "{other}");
        }
    }

    #[test]
    fn the_host_is_told_apart_by_what_it_means() {
        assert_eq!(
            key(false, "A.Example:80", "/x"),
            key(false, "a.example", "/x")
        );
        assert_eq!(
            key(true, "a.example:443", "/x"),
            key(true, "a.example", "/x")
        );
        assert_ne!(
            key(true, "a.example:80", "/x"),
            key(true, "a.example", "/x")
        );
        assert_ne!(key(false, "a.example", "/x"), key(true, "a.example", "/x"));
        assert_ne!(key(false, "a.example", "/x"), key(false, "b.example", "/x"));
    }

    #[test]
    fn two_spellings_of_a_target_are_two_keys() {
        for other in ["/a/../b", "/%62", "//b", "/b?", "/B"] {
            assert_ne!(key(false, "h", "/b"), key(false, "h", other), "{other}");
        }
    }

    #[test]
    fn a_url_is_read_as_a_client_would_ask_for_it() {
        assert_eq!(url("HTTP://H:80/a?b#c"), Some(key(false, "h", "/a?b")));
        assert_eq!(url("https://h?x=1"), Some(key(true, "h", "/?x=1")));
        assert_eq!(url("http://h"), Some(key(false, "h", "/")));
        for no_url in ["/a", "ftp://h/a", "http:///a", "http://user@h/", "h/a", ""] {
            assert_eq!(url(no_url), None, "{no_url}");
        }
        assert_eq!(key(true, "h", "/a?b").url(), "https://h/a?b");
        assert!(key(false, "h", "/live/1").starts_with("http://h/live/"));
    }
}
