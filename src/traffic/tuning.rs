//! The parameters in force: towards an origin by level and class of that origin, towards clients by level alone.
//!
//! Each parameter is defined once, in [`LevelSettings`]: it is the settings file's key, the value in force, and the entry in
//! `/health`.

use std::{ops::Deref, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{level::Level, quality::Class};
use crate::{reloadable::reloadable, units::OutOfRange};

/// `[levels.<level>]`: the parameters of one level. Optional ones follow the class of the network if they are not set.
///
/// The same type holds the parameters in force, in a [`Tuning`], and those in `/health`; there all are set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LevelSettings {
    /// The most origin connections of the whole process.
    pub connections: usize,
    /// The most origin connections to one host.
    pub connections_per_host: usize,
    /// How long an idle origin connection is kept.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = String, example = "1m")]
    pub keep_alive: Duration,
    /// Timeout for opening an origin connection with TLS; also the longest wait for the rate limit.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = String, required = true)]
    pub connect_timeout: Option<Duration>,
    /// Timeout from the request to the response head, with queue, DNS, connect and retries.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = String, required = true)]
    pub exchange_timeout: Option<Duration>,
    /// Longest time without a byte of a response body.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = String, required = true)]
    pub idle_read: Option<Duration>,
    /// The longest time that a DNS answer is cached.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = String)]
    pub dns_cache: Duration,
    /// Up to this size, small pieces that have arrived are joined into one write.
    #[serde(
        default,
        with = "crate::units::sized_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = String, required = true, example = "16KiB")]
    pub chunk: Option<ByteSize>,
    /// Size of the read-ahead buffer of one transfer.
    #[serde(with = "crate::units::sized")]
    #[schema(value_type = String)]
    pub buffer: ByteSize,
    /// The most concurrent Redis commands.
    pub redis_pool: usize,
    /// Whether the TCP options of `[tcp]` are set, on both sides.
    pub tcp_options: bool,
    /// Whether the fixed socket buffers of `[tcp]` are set, too; otherwise the kernel tunes them.
    pub tcp_buffers: bool,
    /// Whether the adaptive rate limit is on.
    pub rate_limit: bool,
    /// Whether the adaptive limit on concurrent exchanges is on.
    pub concurrency_limit: bool,
    /// Whether requests for small bodies overtake others that wait for the origin.
    pub small_first: bool,
    /// Whether responses are stored, and concurrent requests for the same response are collapsed.
    pub store: bool,
    /// Whether as many origin connections are kept open as were recently in use at once.
    pub warm_connections: bool,
    /// Whether broken or stalled bodies are continued.
    pub resume: bool,
    /// Whether large bodies are fetched over several connections if the line to the origin is poor.
    pub parallel: bool,
    /// Whether each client connection is adapted to the class of its own line.
    pub follow_lines: bool,
}

reloadable!(LevelSettings {
    connections: AtOnce,
    connections_per_host: AtOnce,
    keep_alive: AtOnce,
    connect_timeout: AtOnce,
    exchange_timeout: AtOnce,
    idle_read: AtOnce,
    dns_cache: AtOnce,
    chunk: AtOnce,
    buffer: AtOnce,
    redis_pool: AtOnce,
    tcp_options: AtOnce,
    tcp_buffers: AtOnce,
    rate_limit: AtOnce,
    concurrency_limit: AtOnce,
    small_first: AtOnce,
    store: AtOnce,
    warm_connections: AtOnce,
    resume: AtOnce,
    parallel: AtOnce,
    follow_lines: AtOnce,
});

/// `[classes.<class>]`: the parameters of one class of network, for levels that follow it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSettings {
    /// Up to this size, small pieces that have arrived are joined into one write.
    #[serde(with = "crate::units::sized")]
    pub chunk: ByteSize,
    /// Size of the read-ahead buffer for a client whose own line has this class, if larger than the level's.
    #[serde(with = "crate::units::sized")]
    pub line_buffer: ByteSize,
    /// Timeout for opening an origin connection with TLS.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest time without a byte of a response body.
    #[serde(with = "humantime_serde")]
    pub idle_read: Duration,
    /// Timeout from the request to the response head, with queue, DNS, connect and retries.
    #[serde(with = "humantime_serde")]
    pub exchange_timeout: Duration,
}

reloadable!(ClassSettings {
    chunk: AtOnce,
    line_buffer: AtOnce,
    connect_timeout: AtOnce,
    idle_read: AtOnce,
    exchange_timeout: AtOnce,
});

/// `[levels]`: the table of levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the levels themselves")]
pub struct LevelTable {
    pub low: LevelSettings,
    pub medium: LevelSettings,
    pub high: LevelSettings,
}

reloadable!(LevelTable {
    low: Nested,
    medium: Nested,
    high: Nested,
});

impl LevelTable {
    fn of(&self, level: Level) -> &LevelSettings {
        match level {
            Level::Low => &self.low,
            Level::Medium => &self.medium,
            Level::High => &self.high,
        }
    }
}

/// `[classes]`: the table of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the classes themselves")]
pub struct ClassTable {
    pub good: ClassSettings,
    pub medium: ClassSettings,
    pub poor: ClassSettings,
    pub very_poor: ClassSettings,
}

reloadable!(ClassTable {
    good: Nested,
    medium: Nested,
    poor: Nested,
    very_poor: Nested,
});

impl ClassTable {
    fn of(&self, class: Class) -> &ClassSettings {
        match class {
            Class::Good => &self.good,
            Class::Medium => &self.medium,
            Class::Poor => &self.poor,
            Class::VeryPoor => &self.very_poor,
        }
    }
}

/// Both tables, from which the parameters in force are derived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The parameters of each level.
    pub levels: LevelTable,
    /// The parameters of each class.
    pub classes: ClassTable,
}

/// The parameters in force towards clients, which do not depend on an origin's class. Dereferences to the level's settings:
/// `level.tcp_options`.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelInForce {
    /// The level.
    pub level: Level,
    /// Its settings as in the file: parameters that follow a class may be unset.
    pub parameters: LevelSettings,
    /// Chunk size by the class of the client's line; none if connections are not adapted to their lines.
    line_chunks: Option<[ByteSize; Class::ALL.len()]>,
    /// Read-ahead size by the class of the client's line; none if connections are not adapted to their lines.
    line_buffers: Option<[ByteSize; Class::ALL.len()]>,
}

impl Deref for LevelInForce {
    type Target = LevelSettings;

    fn deref(&self) -> &LevelSettings {
        &self.parameters
    }
}

impl LevelInForce {
    /// Chunk size for a client whose line has this class, if the origin's tuning has this `chunk`: the larger one.
    pub fn chunk_for(&self, client: Class, chunk: ByteSize) -> ByteSize {
        self.line_chunks
            .map_or(chunk, |chunks| chunk.max(chunks[client as usize]))
    }

    /// Read-ahead size for a client whose line has this class: a slow reader would occupy an origin connection longer.
    pub fn buffer_for(&self, client: Class) -> ByteSize {
        self.line_buffers.map_or(self.buffer, |buffers| {
            self.buffer.max(buffers[client as usize])
        })
    }
}

/// The parameters in force towards one origin. Dereferences to the level's settings for those that do not depend on the class:
/// `tuning.connections`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// The level it is derived from.
    pub level: Level,
    /// The class it is derived from.
    pub class: Class,
    /// The level's settings, completed from the class: all are set.
    pub parameters: LevelSettings,
    /// `parameters.connect_timeout`.
    pub connect_timeout: Duration,
    /// `parameters.exchange_timeout`.
    pub exchange_timeout: Duration,
    /// `parameters.idle_read`: after this time without a byte, a body continues over another connection, if possible.
    pub idle_read: Duration,
    /// The time without a byte after which a body ends. If the level sets `idle_read`, equal to it; otherwise at least that of
    /// level low, so that a body that a plain proxy would wait for is not cut.
    pub idle_limit: Duration,
    /// `parameters.chunk`.
    pub chunk: ByteSize,
}

impl Deref for Tuning {
    type Target = LevelSettings;

    fn deref(&self) -> &LevelSettings {
        &self.parameters
    }
}

impl Tuning {
    /// The most concurrent exchanges with the origin, which is one host.
    pub fn connections_at_once(&self) -> usize {
        self.connections.min(self.connections_per_host)
    }
}

impl Tables {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first value that is out of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        for level in Level::ALL {
            let l = self.levels.of(level);
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
        for class in Class::ALL {
            let c = self.classes.of(class);
            let key = |name: &str| format!("classes.{class}.{name}");
            sizes(&key("chunk"), c.chunk)?;
            sizes(&key("line_buffer"), c.line_buffer)?;
            times(&key("connect_timeout"), c.connect_timeout)?;
            times(&key("idle_read"), c.idle_read)?;
            times(&key("exchange_timeout"), c.exchange_timeout)?;
        }
        Ok(())
    }

    /// The parameters of a level towards clients.
    pub fn level(&self, level: Level) -> LevelInForce {
        let parameters = self.levels.of(level).clone();
        let of_each = |value: fn(&ClassSettings) -> ByteSize| {
            (parameters.follow_lines).then(|| Class::ALL.map(|class| value(self.classes.of(class))))
        };
        LevelInForce {
            level,
            line_chunks: of_each(|class| class.chunk).filter(|_| parameters.chunk.is_none()),
            line_buffers: of_each(|class| class.line_buffer),
            parameters,
        }
    }

    /// The parameters of a level towards an origin of this class.
    pub fn tuning(&self, level: Level, class: Class) -> Tuning {
        let at_low = self.levels.low.idle_read.unwrap_or_default();
        let (l, c) = (self.levels.of(level), self.classes.of(class));
        let mut parameters = l.clone();
        Tuning {
            level,
            class,
            connect_timeout: *parameters.connect_timeout.get_or_insert(c.connect_timeout),
            exchange_timeout: *parameters
                .exchange_timeout
                .get_or_insert(c.exchange_timeout),
            idle_read: *parameters.idle_read.get_or_insert(c.idle_read),
            idle_limit: l.idle_read.unwrap_or_else(|| c.idle_read.max(at_low)),
            chunk: *parameters.chunk.get_or_insert(c.chunk),
            parameters,
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
        let chunk = |origin, client| {
            let tuning = tables().tuning(Level::High, origin);
            tables().level(Level::High).chunk_for(client, tuning.chunk)
        };
        let kib = ByteSize::kib;
        assert_eq!(chunk(Class::Good, Class::Good), kib(8));
        assert_eq!(chunk(Class::Good, Class::VeryPoor), kib(64));
        assert_eq!(chunk(Class::Poor, Class::Good), kib(32));
    }

    #[test]
    fn at_level_high_a_client_on_a_poor_line_gets_more_read_ahead() {
        let level = tables().level(Level::High);
        assert_eq!(level.buffer_for(Class::Good), ByteSize::kib(128));
        assert_eq!(level.buffer_for(Class::Poor), ByteSize::kib(256));
    }

    #[test]
    fn at_level_low_chunk_and_buffer_are_the_level_s() {
        let level = tables().level(Level::Low);
        let chunk = tables().tuning(Level::Low, Class::VeryPoor).chunk;
        assert_eq!(level.buffer_for(Class::VeryPoor), ByteSize::kib(64));
        assert_eq!(level.chunk_for(Class::VeryPoor, chunk), ByteSize::kib(8));
    }
}
