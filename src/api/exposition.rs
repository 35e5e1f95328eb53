//! The Prometheus text format 0.0.4: metric families, written one after the other.
//!
//! The values exist already as counters and summaries; a metrics library would store them a second time.

use std::fmt::{Display, Write as _};

use crate::traffic::{distribution::Distribution, origin::OriginState, origins::Origins};

/// The type of a metric family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A total that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
}

/// A family with a sample for each origin: name, help, and how to read the value.
pub(super) type Family<S> = (&'static str, &'static str, fn(&S) -> u64);

/// A text in this format, being written.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// The media type.
    pub(super) const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// The complete text.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// Writes a family with one sample.
    pub(super) fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.begin(kind_name(kind), name, help);
        self.sample(format_args!("{name}"), value);
    }

    /// Writes a family with one label, and a sample for each of its values.
    pub(super) fn by<L: Display, V: Display>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) {
        self.begin(kind_name(kind), name, help);
        for (word, value) in samples {
            self.sample(format_args!("{name}{{{label}=\"{word}\"}}"), value);
        }
    }

    /// Writes a family with a sample for each origin, labelled by its name.
    pub(super) fn of_each<V: Display>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        origins: &Origins,
        value: impl Fn(&OriginState) -> V,
    ) {
        let samples = origins.iter().map(|origin| (&origin.name, value(origin)));
        self.by(kind, name, help, "origin", samples);
    }

    /// Writes a family with samples for each origin, with one more label.
    pub(super) fn of_each_by<L: Display, V: Display, S: IntoIterator<Item = (L, V)>>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        origins: &Origins,
        label: &str,
        samples: impl Fn(&OriginState) -> S,
    ) {
        self.begin(kind_name(kind), name, help);
        for origin in origins.iter() {
            for (word, value) in samples(origin) {
                let origin = &origin.name;
                self.sample(
                    format_args!("{name}{{origin=\"{origin}\",{label}=\"{word}\"}}"),
                    value,
                );
            }
        }
    }

    /// Writes a family for a state: the sample of `now` is 1, all others are 0.
    pub(super) fn state<S: Display + PartialEq>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        all: impl IntoIterator<Item = S>,
        now: S,
    ) {
        let states = all.into_iter().map(|state| {
            let is = u8::from(state == now);
            (state, is)
        });
        self.by(Kind::Gauge, name, help, label, states);
    }

    /// Writes a histogram.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        spread: &Distribution<N>,
    ) {
        self.begin("histogram", name, help);
        for (bound, count) in spread.cumulated() {
            self.sample(format_args!("{name}_bucket{{le=\"{bound}\"}}"), count);
        }
        self.sample(format_args!("{name}_bucket{{le=\"+Inf\"}}"), spread.count());
        self.sample(format_args!("{name}_sum"), spread.sum());
        self.sample(format_args!("{name}_count"), spread.count());
    }

    fn begin(&mut self, kind: &str, name: &str, help: &str) {
        // Writing to a String cannot fail.
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: impl Display, value: impl Display) {
        _ = writeln!(self.0, "{name} {value}");
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    }
}
