//! Purges by prefix, by tag, or of everything: a record that affects all older objects, which are processed afterwards.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::head::StoredHead;
use crate::store::{key::Key, octets::Octets, tags::tags};

/// What to purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Everything.
    All,
    /// All variants of this key.
    Url(Key),
    /// All URLs with this prefix.
    Prefix(String),
    /// All responses with this tag, compared byte for byte.
    Tag(Octets),
}

/// A purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// It affects objects whose heads have a lower number.
    pub serial: u64,
    /// Which of them.
    pub what: What,
    /// Whether they become stale instead of being removed.
    pub soft: bool,
    /// Time of the purge, in milliseconds since 1970.
    pub at: u64,
}

impl Purge {
    /// Whether it affects the object with this head.
    pub fn means(&self, head: &StoredHead) -> bool {
        head.serial < self.serial
            && match &self.what {
                What::All => true,
                What::Url(key) => head.key == *key,
                What::Prefix(prefix) => head.key.starts_with(prefix),
                What::Tag(tag) => tags(&head.fields).any(|of| *of == *tag.0),
            }
    }

    /// Time of the purge.
    pub fn time(&self) -> SystemTime {
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.at));
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match &self.what {
                What::All => 0,
                What::Url(key) => key.bytes(),
                What::Prefix(prefix) => prefix.len(),
                What::Tag(tag) => tag.0.len(),
            }
    }
}

/// The effect of purges on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None.
    Stays,
    /// Stale since then.
    Stale(SystemTime),
    /// Removed.
    Gone,
}

/// The effect of `purges` on the object with this head.
pub fn judge<'a>(purges: impl IntoIterator<Item = &'a Purge>, head: &StoredHead) -> Verdict {
    let mut verdict = Verdict::Stays;
    for purge in purges {
        if purge.means(head) {
            if !purge.soft {
                return Verdict::Gone;
            }
            verdict = Verdict::Stale(purge.time());
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::head::tests::head;

    fn purge(what: What, soft: bool) -> Purge {
        Purge {
            serial: 10,
            what,
            soft,
            at: 1,
        }
    }

    #[test]
    fn a_purge_means_what_is_older_and_of_its_prefix_or_tag() {
        let mut old = head("/live/1");
        old.fields.insert(
            "surrogate-key".parse().unwrap(),
            "news sport".parse().unwrap(),
        );
        let prefix = |prefix: &str| What::Prefix(prefix.to_owned());
        let tag = |tag: &str| What::Tag(tag.as_bytes().into());
        for (what, meant) in [
            (What::All, true),
            (What::Url(old.key.clone()), true),
            (What::Url(head("/live/2").key), false),
            (prefix("https://h/live/"), true),
            (prefix("http://h/live/"), false),
            (prefix("https://h/live/10"), false),
            (tag("sport"), true),
            (tag("Sport"), false),
            (tag("spor"), false),
            (tag("news sport"), false),
        ] {
            assert_eq!(purge(what.clone(), false).means(&old), meant, "{what:?}");
        }
        old.serial = 10;
        assert_eq!(judge(&[purge(What::All, false)], &old), Verdict::Stays);
    }

    #[test]
    fn a_hard_purge_goes_before_a_soft_one() {
        let soft = purge(What::All, true);
        let hard = purge(What::All, false);
        assert_eq!(judge([&soft], &head("/")), Verdict::Stale(soft.time()));
        assert_eq!(judge([&soft, &hard, &soft], &head("/")), Verdict::Gone);
    }
}
