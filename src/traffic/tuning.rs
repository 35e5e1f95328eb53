//! The parameters in force, derived from level and class.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{level::Level, quality::Class};
use crate::units::OutOfRange;

/// What one level sets. A value that is not there follows the class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelSettings {
    /// Most origin connections of the whole process.
    pub connections: usize,
    /// Most origin connections to one host.
    pub connections_per_host: usize,
    /// How long an idle origin connection is kept.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// Longest connect, TLS included.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    pub connect_timeout: Option<Duration>,
    /// Longest way to the response head: queue, DNS, connect, retries.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    pub exchange_timeout: Option<Duration>,
    /// Longest gap between two reads of a response body.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    pub idle_read: Option<Duration>,
    /// How long an answer of DNS is kept at most.
    #[serde(with = "humantime_serde")]
    pub dns_cache: Duration,
    /// How far small pieces that have arrived are gathered into one write.
    #[serde(
        default,
        with = "crate::units::sized_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub chunk: Option<ByteSize>,
    /// Read-ahead for one transfer.
    #[serde(with = "crate::units::sized")]
    pub buffer: ByteSize,
    /// Most Redis commands under way at once.
    pub redis_pool: usize,
    /// Whether the TCP options of `[tcp]` are set, on both sides.
    pub tcp_options: bool,
    /// Whether the fixed socket buffers of `[tcp]` are set too; else the kernel tunes them.
    pub tcp_buffers: bool,
    /// Whether the adaptive rate limit is on.
    pub rate_limit: bool,
    /// Whether the adaptive limit on exchanges at once is on.
    pub concurrency_limit: bool,
    /// Whether small ones go first among those who wait for the origin.
    pub small_first: bool,
    /// Whether responses are kept, and requests for the same join while one is under way.
    pub store: bool,
    /// Whether as many origin connections are kept open as were lately in use at once.
    pub warm_connections: bool,
    /// Whether bodies that break or stall are continued.
    pub resume: bool,
    /// Whether large bodies are fetched over several connections where the line is poor.
    pub parallel: bool,
    /// Whether each connection follows the class of its own line.
    pub follow_lines: bool,
}

/// What one class sets, for the levels that follow it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSettings {
    /// How far small pieces that have arrived are gathered into one write.
    #[serde(with = "crate::units::sized")]
    pub chunk: ByteSize,
    /// Read-ahead for one transfer to a client whose own line has this class, where that is more than the level's.
    #[serde(with = "crate::units::sized")]
    pub line_buffer: ByteSize,
    /// Longest connect, TLS included.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest gap between two reads of a response body.
    #[serde(with = "humantime_serde")]
    pub idle_read: Duration,
    /// Longest way to the response head: queue, DNS, connect, retries.
    #[serde(with = "humantime_serde")]
    pub exchange_timeout: Duration,
}

/// The table of levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the levels themselves")]
pub struct LevelTable {
    pub low: LevelSettings,
    pub medium: LevelSettings,
    pub high: LevelSettings,
}

/// The table of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the classes themselves")]
pub struct ClassTable {
    pub good: ClassSettings,
    pub medium: ClassSettings,
    pub poor: ClassSettings,
    pub very_poor: ClassSettings,
}

impl ClassTable {
    /// One value of each class, in their order.
    fn each<T>(&self, value: impl Fn(&ClassSettings) -> T) -> [T; Class::ALL.len()] {
        [&self.good, &self.medium, &self.poor, &self.very_poor].map(value)
    }
}

/// Both tables, from which every tuning is derived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// What each level sets.
    pub levels: LevelTable,
    /// What each class sets.
    pub classes: ClassTable,
}

/// The parameters in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuning {
    /// The level that it comes from.
    pub level: Level,
    /// The class that it comes from.
    pub class: Class,
    /// Most origin connections of the whole process.
    pub connections: usize,
    /// Most origin connections to one host.
    pub connections_per_host: usize,
    /// How long an idle origin connection is kept.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// Longest connect, TLS included; also the longest wait for the rate limit.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest way to the response head: queue, DNS, connect, retries.
    #[serde(with = "humantime_serde")]
    pub exchange_timeout: Duration,
    /// Longest gap between two reads of a response body, before another connection is tried where that may be.
    #[serde(with = "humantime_serde")]
    pub idle_read: Duration,
    /// Longest gap before the body ends: where the level does not say it, as long as at level low at least, for what a
    /// plain proxy waits for is not cut.
    #[serde(skip)]
    pub idle_limit: Duration,
    /// How long an answer of DNS is kept at most.
    #[serde(with = "humantime_serde")]
    pub dns_cache: Duration,
    /// How far small pieces that have arrived are gathered into one write.
    #[serde(with = "crate::units::sized")]
    pub chunk: ByteSize,
    /// The same by the class of the client's line, where connections follow their lines.
    #[serde(skip)]
    pub line_chunks: Option<[ByteSize; Class::ALL.len()]>,
    /// Read-ahead for one transfer.
    #[serde(with = "crate::units::sized")]
    pub buffer: ByteSize,
    /// The same by the class of the client's line, where connections follow their lines.
    #[serde(skip)]
    pub line_buffers: Option<[ByteSize; Class::ALL.len()]>,
    /// Most Redis commands under way at once.
    pub redis_pool: usize,
    /// Whether the TCP options are set.
    pub tcp_options: bool,
    /// Whether the fixed socket buffers are set too; else the kernel tunes them.
    pub tcp_buffers: bool,
    /// Whether the adaptive rate limit is on.
    pub rate_limit: bool,
    /// Whether the adaptive limit on exchanges at once is on.
    pub concurrency_limit: bool,
    /// Whether small ones go first among those who wait for the origin.
    pub small_first: bool,
    /// Whether responses are kept, and requests for the same join while one is under way.
    pub store: bool,
    /// Whether as many origin connections are kept open as were lately in use at once.
    pub warm_connections: bool,
    /// Whether bodies that break or stall are continued.
    pub resume: bool,
    /// Whether large bodies are fetched over several connections where the line is poor.
    pub parallel: bool,
    /// Whether each connection follows the class of its own line.
    pub follow_lines: bool,
}

impl Tuning {
    /// How far small pieces are gathered into one write for a client whose line has this class: the worse of the two
    /// lines decides.
    pub fn chunk_for(&self, client: Class) -> ByteSize {
        self.line_chunks
            .map_or(self.chunk, |chunks| self.chunk.max(chunks[client as usize]))
    }

    /// Read-ahead for a transfer to a client whose line has this class: the slower it reads, the longer it would hold
    /// an origin connection.
    pub fn buffer_for(&self, client: Class) -> ByteSize {
        self.line_buffers.map_or(self.buffer, |buffers| {
            self.buffer.max(buffers[client as usize])
        })
    }

    /// Exchanges that the origin may be given at once: it is one host.
    pub fn connections_at_once(&self) -> usize {
        self.connections.min(self.connections_per_host)
    }
}

impl Tables {
    /// Checks what no single value shows.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        for (level, l) in [
            ("low", &self.levels.low),
            ("medium", &self.levels.medium),
            ("high", &self.levels.high),
        ] {
            let key = |name: &str| format!("levels.{level}.{name}");
            for (name, is) in [
                ("connections", l.connections),
                ("connections_per_host", l.connections_per_host),
                ("redis_pool", l.redis_pool),
            ] {
                OutOfRange::unless((1..=100_000).contains(&is), key(name), "1 to 100000", is)?;
            }
            sizes(&key("buffer"), l.buffer)?;
            l.chunk
                .map_or(Ok(()), |chunk| sizes(&key("chunk"), chunk))?;
            for (name, is) in [
                ("keep_alive", Some(l.keep_alive)),
                ("dns_cache", Some(l.dns_cache)),
                ("connect_timeout", l.connect_timeout),
                ("exchange_timeout", l.exchange_timeout),
                ("idle_read", l.idle_read),
            ] {
                is.map_or(Ok(()), |is| times(&key(name), is))?;
            }
        }
        let c = &self.classes;
        for (class, c) in [
            ("good", &c.good),
            ("medium", &c.medium),
            ("poor", &c.poor),
            ("very_poor", &c.very_poor),
        ] {
            let key = |name: &str| format!("classes.{class}.{name}");
            sizes(&key("chunk"), c.chunk)?;
            sizes(&key("line_buffer"), c.line_buffer)?;
            times(&key("connect_timeout"), c.connect_timeout)?;
            times(&key("idle_read"), c.idle_read)?;
            times(&key("exchange_timeout"), c.exchange_timeout)?;
        }
        Ok(())
    }

    /// The tuning for a level on a network of this class.
    pub fn tuning(&self, level: Level, class: Class) -> Tuning {
        let least = self.levels.low.idle_read.unwrap_or_default();
        let l = match level {
            Level::Low => &self.levels.low,
            Level::Medium => &self.levels.medium,
            Level::High => &self.levels.high,
        };
        let c = match class {
            Class::Good => &self.classes.good,
            Class::Medium => &self.classes.medium,
            Class::Poor => &self.classes.poor,
            Class::VeryPoor => &self.classes.very_poor,
        };
        Tuning {
            level,
            class,
            connections: l.connections,
            connections_per_host: l.connections_per_host,
            keep_alive: l.keep_alive,
            connect_timeout: l.connect_timeout.unwrap_or(c.connect_timeout),
            exchange_timeout: l.exchange_timeout.unwrap_or(c.exchange_timeout),
            idle_read: l.idle_read.unwrap_or(c.idle_read),
            idle_limit: l.idle_read.unwrap_or_else(|| c.idle_read.max(least)),
            dns_cache: l.dns_cache,
            chunk: l.chunk.unwrap_or(c.chunk),
            line_chunks: (l.follow_lines && l.chunk.is_none())
                .then(|| self.classes.each(|class| class.chunk)),
            buffer: l.buffer,
            line_buffers: l
                .follow_lines
                .then(|| self.classes.each(|class| class.line_buffer)),
            redis_pool: l.redis_pool,
            tcp_options: l.tcp_options,
            tcp_buffers: l.tcp_buffers,
            rate_limit: l.rate_limit,
            concurrency_limit: l.concurrency_limit,
            small_first: l.small_first,
            store: l.store,
            warm_connections: l.warm_connections,
            resume: l.resume,
            parallel: l.parallel,
            follow_lines: l.follow_lines,
        }
    }
}

fn sizes(key: &str, is: ByteSize) -> Result<(), OutOfRange> {
    let must = "1KiB to 16MiB";
    OutOfRange::unless(
        (1024..=16 * 1024 * 1024).contains(&is.as_u64()),
        key,
        must,
        is,
    )
}

fn times(key: &str, is: Duration) -> Result<(), OutOfRange> {
    OutOfRange::unless_between(
        key,
        Duration::from_millis(1),
        is,
        Duration::from_secs(24 * 3600),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        let base = include_str!("../../settings/base.toml");
        let base: toml::Table = base.parse().unwrap();
        Tables {
            levels: base["levels"].clone().try_into().unwrap(),
            classes: base["classes"].clone().try_into().unwrap(),
        }
    }

    #[test]
    fn at_level_high_the_worse_of_the_two_lines_decides_the_chunk() {
        let tuning = |class| tables().tuning(Level::High, class);
        let kib = ByteSize::kib;
        assert_eq!(tuning(Class::Good).chunk_for(Class::Good), kib(8));
        assert_eq!(tuning(Class::Good).chunk_for(Class::VeryPoor), kib(64));
        assert_eq!(tuning(Class::Poor).chunk_for(Class::Good), kib(32));
    }

    #[test]
    fn at_level_high_a_client_on_a_poor_line_gets_more_read_ahead() {
        let tuning = tables().tuning(Level::High, Class::Good);
        assert_eq!(tuning.buffer_for(Class::Good), ByteSize::kib(128));
        assert_eq!(tuning.buffer_for(Class::Poor), ByteSize::kib(256));
    }

    #[test]
    fn at_level_low_chunk_and_buffer_are_the_level_s() {
        let tuning = tables().tuning(Level::Low, Class::VeryPoor);
        assert_eq!(tuning.buffer_for(Class::VeryPoor), ByteSize::kib(64));
        assert_eq!(tuning.chunk_for(Class::VeryPoor), ByteSize::kib(8));
    }
}
