//! The tuning in force in human-readable form, with numbers for values that have a unit.

use std::time::Duration;

use serde::{Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::traffic::{
    level::Level,
    quality::Class,
    tuning::{LevelSettings, Tuning},
};

/// The tuning in force as one object: the parameters, and additional numbers.
#[derive(Debug, Serialize)]
pub(super) struct Config {
    #[serde(flatten)]
    parameters: LevelSettings,
    #[serde(flatten)]
    beside: Beside,
}

/// The tuning in force: the parameters that follow from level and class.
#[derive(Debug, Serialize, ToSchema)]
struct Beside {
    /// How much optimization is on.
    optimization_level: Level,
    /// The class of the origin that the tuning is based on.
    quality: Class,
    #[schema(value_type = f64)]
    keep_alive_seconds: Seconds,
    #[schema(value_type = f64)]
    connect_timeout_seconds: Seconds,
    #[schema(value_type = f64)]
    exchange_timeout_seconds: Seconds,
    #[schema(value_type = f64)]
    idle_read_seconds: Seconds,
    #[schema(value_type = f64)]
    dns_cache_seconds: Seconds,
    chunk_bytes: u64,
    buffer_bytes: u64,
}

impl Config {
    pub(super) fn of(tuning: &Tuning) -> Self {
        Self {
            parameters: tuning.parameters.clone(),
            beside: Beside {
                optimization_level: tuning.level,
                quality: tuning.class,
                keep_alive_seconds: Seconds(tuning.keep_alive),
                connect_timeout_seconds: Seconds(tuning.connect_timeout),
                exchange_timeout_seconds: Seconds(tuning.exchange_timeout),
                idle_read_seconds: Seconds(tuning.idle_read),
                dns_cache_seconds: Seconds(tuning.dns_cache),
                chunk_bytes: tuning.chunk.as_u64(),
                buffer_bytes: tuning.buffer.as_u64(),
            },
        }
    }
}

impl PartialSchema for Config {
    fn schema() -> RefOr<Schema> {
        match (Beside::schema(), LevelSettings::schema()) {
            (RefOr::T(Schema::Object(mut all)), RefOr::T(Schema::Object(parameters))) => {
                all.properties.extend(parameters.properties);
                all.required.extend(parameters.required);
                Schema::Object(all).into()
            }
            // Both are structs, and serialize to objects.
            (beside, _) => beside,
        }
    }
}

impl ToSchema for Config {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Beside::schemas(schemas);
    }
}

/// Seconds as a number, without a decimal point if whole.
#[derive(Debug)]
struct Seconds(Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}
