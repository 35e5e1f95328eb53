//! Which Redis to use: none, one node, or a cluster.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::traffic::redacted::redacted;

/// Which Redis to use. Displayed without user and password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Target {
    /// None: each instance has its own level.
    None,
    /// One node: its URL.
    Node(String),
    /// A cluster: the URLs of the nodes to connect to first.
    Cluster(Vec<String>),
}

/// A string that is not a valid Redis URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{shown}` is no Redis URL ({why}): give redis://[user:password@]host[:port][/db], rediss:// for TLS, \
     redis+cluster:// or rediss+cluster:// with comma-separated hosts, or nothing for none"
)]
pub struct NotATarget {
    shown: String,
    why: String,
}

impl Target {
    /// Parses a URL as in `redis.url`.
    ///
    /// # Errors
    ///
    /// [`NotATarget`], without user and password, if it is invalid.
    pub fn parse(url: &str) -> Result<Self, NotATarget> {
        let refused = |why: &str| NotATarget {
            shown: redacted(url),
            why: why.to_owned(),
        };
        if url.is_empty() {
            return Ok(Self::None);
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refused("no scheme"))?;
        let (nodes, cluster) = match scheme {
            "redis" | "rediss" | "unix" | "redis+unix" => (vec![url.to_owned()], false),
            "redis+cluster" => (nodes("redis", rest), true),
            "rediss+cluster" => (nodes("rediss", rest), true),
            _ => return Err(refused("unknown scheme")),
        };
        for node in &nodes {
            // The library's messages do not repeat the URL, which may contain a password.
            redis::Client::open(node.as_str()).map_err(|error| refused(&error.to_string()))?;
        }
        Ok(if cluster {
            Self::Cluster(nodes)
        } else {
            Self::Node(url.to_owned())
        })
    }

    /// The URLs of the node, or of the configured nodes of a cluster.
    pub(super) fn nodes(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::Node(url) => std::slice::from_ref(url),
            Self::Cluster(nodes) => nodes,
        }
    }
}

/// The URLs of the hosts in what follows `://`: `user:password@a:1,b:2/0#insecure` gives two.
fn nodes(scheme: &str, rest: &str) -> Vec<String> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, hosts) = match authority.rfind('@') {
        Some(at) => authority.split_at(at + 1),
        None => ("", authority),
    };
    hosts
        .split(',')
        .map(|host| format!("{scheme}://{user}{}{tail}", host.trim()))
        .collect()
}

impl TryFrom<String> for Target {
    type Error = NotATarget;

    fn try_from(url: String) -> Result<Self, NotATarget> {
        Self::parse(&url)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self.nodes().iter().map(|url| redacted(url)).collect();
        f.write_str(&shown.join(","))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_url_is_no_redis() {
        assert_eq!(Target::parse(""), Ok(Target::None));
    }

    #[test]
    fn user_password_database_and_tls_are_read_from_the_url() {
        for url in [
            "redis://127.0.0.1:6379",
            "redis://:secret@host/3",
            "rediss://user:secret@host:6380/1",
            "rediss://host:6380#insecure",
        ] {
            assert_eq!(Target::parse(url), Ok(Target::Node(url.to_owned())));
        }
    }

    #[test]
    fn a_cluster_url_gives_one_url_per_host() {
        assert_eq!(
            Target::parse("rediss+cluster://u:p@a:1,b:2,[::1]:3#insecure"),
            Ok(Target::Cluster(vec![
                "rediss://u:p@a:1#insecure".into(),
                "rediss://u:p@b:2#insecure".into(),
                "rediss://u:p@[::1]:3#insecure".into(),
            ]))
        );
    }

    #[test]
    fn a_wrong_url_is_refused_with_what_is_allowed_and_without_the_password() {
        for url in [
            "localhost:6379",
            "http://user:secret@host",
            "redis://user:secret@",
            "redis://user:secret@host/notadb",
            "redis+cluster://user:secret@a:1,,b:2",
        ] {
            let error = Target::parse(url).expect_err(url).to_string();
            assert!(error.contains("rediss+cluster://"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_target_is_never_shown_with_its_password() {
        let target = Target::parse("redis+cluster://u:secret@a:1,b:2").unwrap();
        let shown = format!(
            "{target} {target:?} {}",
            serde_json::to_string(&target).unwrap()
        );
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("redis://a:1,redis://b:2"), "{shown}");
    }
}
