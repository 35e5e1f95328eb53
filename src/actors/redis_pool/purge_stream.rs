//! `<prefix>:purges`: the purges of all instances as a Redis stream, so that an instance that was disconnected continues where it
//! left off.
//!
//! Each instance remembers the id of the last entry that it applied. It reads from that id on, including that entry: if another
//! entry comes first, the stream was trimmed or lost meanwhile, and unknown purges are missing.

use redis::{Cmd, Value};
use serde::{Deserialize, Serialize};

use crate::store::purge::What;

/// Approximate number of entries in the stream: an instance that misses more purges everything.
const KEPT: u64 = 10_000;

/// Entries that are read at once.
const AT_ONCE: u64 = 100;

/// The id before all entries.
const BEFORE_ALL: &str = "0-0";

/// One purge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The instance that the purge was requested from, and which has done it.
    pub by: String,
    /// What to purge.
    pub what: Vec<What>,
    /// Whether it is only made stale.
    pub soft: bool,
}

/// Entries behind the last one that was applied.
#[derive(Debug, PartialEq)]
pub struct News {
    /// The entries in order. None: entries are missing, so everything must be purged.
    pub entries: Option<Vec<Entry>>,
    /// The id of the last of them.
    pub last: String,
}

/// The stream's key, and its commands.
#[derive(Clone, Debug)]
pub struct PurgeStream {
    key: String,
}

impl PurgeStream {
    /// The stream with this key prefix.
    pub fn new(prefix: &str) -> Self {
        PurgeStream {
            key: format!("{prefix}:purges"),
        }
    }

    /// Adds an entry.
    pub fn add(&self, entry: &Entry) -> Cmd {
        let mut add = redis::cmd("XADD");
        add.arg(&self.key).arg("MAXLEN").arg("~").arg(KEPT);
        add.arg("*")
            .arg("purge")
            .arg(serde_json::to_string(entry).unwrap_or_default());
        add
    }

    /// Reads the newest id, which is where an instance without a position starts.
    pub fn newest(&self) -> Cmd {
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        newest
    }

    /// Reads from the entry with the id `last` on.
    pub fn since(&self, last: &str) -> Cmd {
        let mut since = redis::cmd("XRANGE");
        since.arg(&self.key).arg(last).arg("+");
        since.arg("COUNT").arg(AT_ONCE + 1);
        since
    }

    /// Parses the reply to [`PurgeStream::newest`].
    ///
    /// # Errors
    ///
    /// The reply has another form.
    pub fn newest_of(reply: Value) -> Result<String, redis::ParsingError> {
        let lines: Vec<(String, Vec<String>)> = redis::from_redis_value(reply)?;
        let newest = lines.into_iter().next().map(|(id, _)| id);
        Ok(newest.unwrap_or_else(|| BEFORE_ALL.to_owned()))
    }

    /// Parses the reply to [`PurgeStream::since`].
    ///
    /// # Errors
    ///
    /// The reply has another form.
    pub fn news_of(last: &str, reply: Value) -> Result<News, redis::ParsingError> {
        let mut lines: Vec<(String, Vec<String>)> = redis::from_redis_value(reply)?;
        let newest = lines.last().map_or(BEFORE_ALL, |(id, _)| id).to_owned();
        if last != BEFORE_ALL {
            if lines.first().is_none_or(|(id, _)| id != last) {
                return Ok(News {
                    entries: None,
                    last: newest,
                });
            }
            lines.remove(0);
        }
        let entries = lines.iter().map(|(_, fields)| {
            let text = fields.get(1)?;
            serde_json::from_str(text).ok()
        });
        // An entry that cannot be parsed could be any purge.
        Ok(News {
            entries: entries.collect(),
            last: newest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, entry: &str) -> Value {
        let text = |text: &str| Value::BulkString(text.into());
        Value::Array(vec![
            text(id),
            Value::Array(vec![text("purge"), text(entry)]),
        ])
    }

    fn news(last: &str, lines: Vec<Value>) -> News {
        PurgeStream::news_of(last, Value::Array(lines)).unwrap()
    }

    #[test]
    fn what_follows_the_last_entry_is_news_and_a_gap_is_told() {
        let entry = Entry {
            by: "a".into(),
            what: vec![What::All],
            soft: false,
        };
        let text = serde_json::to_string(&entry).unwrap();
        let (one, two) = (line("1-0", &text), line("2-0", &text));
        let entries = Some(vec![entry.clone()]);
        let last = "2-0".to_owned();
        assert_eq!(
            news("1-0", vec![one.clone(), two.clone()]),
            News { entries, last }
        );
        let entries = Some(vec![]);
        let last = "1-0".to_owned();
        assert_eq!(news("1-0", vec![one.clone()]), News { entries, last });
        assert_eq!(news("0-0", vec![one]).entries, Some(vec![entry]));
        for lost in [
            vec![],
            vec![two],
            vec![line("1-0", &text), line("2-0", "?")],
        ] {
            assert_eq!(news("1-0", lost).entries, None);
        }
        assert_eq!(news("0-0", vec![]).last, "0-0");
    }
}
