//! The last minutes as one row of numbers per second: dashboards draw them as soon as they are opened.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use utoipa::ToSchema;

use super::{
    numbers::{millis, rounded},
    process::Usage,
};
use crate::traffic::{origin::OriginState, published::Published, quality::Class};

/// The names of a row's numbers, in order.
const COLUMNS: [&str; 33] = [
    "at_ms",
    "requests_per_second",
    "sent_mbps",
    "error_percent",
    "p50_ttfb_ms",
    "p95_ttfb_ms",
    "p99_ttfb_ms",
    "p50_response_time_ms",
    "p95_response_time_ms",
    "p99_response_time_ms",
    "requests_in_flight",
    "rate_limit",
    "delayed_per_second",
    "rejected_per_second",
    "rate_waiting",
    "origin_in_use",
    "origin_waiting",
    "origin_limit",
    "clients_good",
    "clients_medium",
    "clients_poor",
    "clients_very_poor",
    "class",
    "resumed_per_second",
    "parallel_per_second",
    "responses_2xx_per_second",
    "responses_3xx_per_second",
    "responses_4xx_per_second",
    "responses_5xx_per_second",
    "origin_median_ms",
    "cpu_percent",
    "resident_mb",
    "origin_open",
];

/// The numbers of one second.
#[derive(Clone, Debug)]
pub(super) struct Row([f64; COLUMNS.len()]);

/// The last rows, oldest first: `rows` of numbers in the order of `columns`, at most `kept`.
#[derive(Clone, Debug, ToSchema)]
pub(super) struct History {
    #[schema(value_type = Vec<Vec<Option<f64>>>)]
    rows: VecDeque<Row>,
    /// The most rows.
    kept: usize,
    /// The names of the numbers.
    columns: [&'static str; COLUMNS.len()],
    /// The totals at the last row.
    #[schema(ignore)]
    before: Totals,
}

/// Totals since the start, and when they were read: two of them give rates.
#[derive(Clone, Debug)]
struct Totals {
    at: Instant,
    sent: u64,
    delayed: u64,
    rejected: u64,
    resumed: u64,
    parallel: u64,
    /// Responses by status class, 2xx to 5xx.
    responses: [u64; 4],
    /// Processor time; none if the system does not report it.
    usage: Option<Usage>,
    /// When requests were counted: at the window's last tick, not now.
    counted: Instant,
    requests: u64,
    requests_per_second: f64,
}

impl Totals {
    fn of(published: &Published, now: Instant) -> Self {
        let clients = &published.clients;
        let all =
            |of: fn(&OriginState) -> u64| published.origins.iter().map(|origin| of(origin)).sum();
        let summary = published.summary.load();
        Self {
            at: now,
            sent: clients.sent_bytes.get(),
            delayed: all(|origin| origin.gate.admissions().delayed),
            rejected: all(|origin| origin.gate.admissions().rejected),
            resumed: all(|origin| {
                origin.counters.resumed.get() + origin.counters.stalls_mended.get()
            }),
            parallel: all(|origin| origin.counters.parallel_transfers.get()),
            responses: {
                let mut classes = clients.responses().map(|(_, count)| count).skip(1);
                std::array::from_fn(|_| classes.next().unwrap_or_default())
            },
            usage: Usage::now(),
            counted: summary.at,
            requests: summary.total.requests,
            requests_per_second: 0.0,
        }
    }

    /// The current totals, with the request rate since `before`.
    fn after(published: &Published, now: Instant, before: &Self) -> Self {
        let totals = Self::of(published, now);
        let passed = totals.counted.saturating_duration_since(before.counted);
        let requests_per_second = if passed.is_zero() {
            before.requests_per_second
        } else {
            per_second(before.requests, totals.requests, passed)
        };
        Self {
            requests_per_second,
            ..totals
        }
    }
}

fn per_second(from: u64, to: u64, passed: Duration) -> f64 {
    to.saturating_sub(from) as f64 / passed.as_secs_f64().max(0.001)
}

impl History {
    /// An empty history of at most `kept` rows.
    pub(super) fn new(kept: usize, published: &Published, now: Instant) -> Self {
        Self {
            rows: VecDeque::new(),
            kept,
            columns: COLUMNS,
            before: Totals::of(published, now),
        }
    }

    /// Adds a row for now, and drops the oldest if there are too many.
    pub(super) fn record(&mut self, published: &Published, now: Instant) -> Row {
        let totals = Totals::after(published, now, &self.before);
        let row = Row::of(published, &self.before, &totals);
        self.before = totals;
        if self.rows.len() == self.kept {
            self.rows.pop_front();
        }
        self.rows.push_back(row.clone());
        row
    }
}

impl Row {
    fn of(published: &Published, before: &Totals, totals: &Totals) -> Self {
        let summary = published.summary.load();
        let window = &summary.window;
        let clients = &published.clients;
        let all = |of: fn(&OriginState) -> u64| {
            published
                .origins
                .iter()
                .map(|origin| of(origin))
                .sum::<u64>() as f64
        };
        let passed = totals.at.saturating_duration_since(before.at);
        let lines = |class: Class| clients.by_class[class as usize].get() as f64;
        let responses =
            |class: usize| per_second(before.responses[class], totals.responses[class], passed);
        let cpu = totals.usage.zip(before.usage);
        let cpu = cpu.map(|(now, before)| now.cpu.saturating_sub(before.cpu));
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self([
            since_1970.unwrap_or_default().as_millis() as f64,
            totals.requests_per_second,
            per_second(before.sent, totals.sent, passed) * 8.0 / 1e6,
            window.error_share() * 100.0,
            millis(window.ttfb.p50),
            millis(window.ttfb.p95),
            millis(window.ttfb.p99),
            millis(window.total.p50),
            millis(window.total.p95),
            millis(window.total.p99),
            clients.requests.get() as f64,
            // A gap in the chart while it is off.
            match published.origins.iter().all(|origin| origin.gate.is_on()) {
                true => published
                    .origins
                    .iter()
                    .map(|origin| origin.gate.rate().per_second())
                    .sum(),
                false => f64::NAN,
            },
            per_second(before.delayed, totals.delayed, passed),
            per_second(before.rejected, totals.rejected, passed),
            all(|origin| origin.gate.waiting(Instant::now())),
            all(|origin| origin.counters.in_use.get()),
            all(|origin| origin.counters.waiting.get()),
            all(|origin| origin.concurrency.limit(origin.most_at_once()) as u64),
            lines(Class::Good),
            lines(Class::Medium),
            lines(Class::Poor),
            lines(Class::VeryPoor),
            // A gap in the chart while it is unknown.
            published
                .origin()
                .quality()
                .map_or(f64::NAN, |class| f64::from(class as u8)),
            per_second(before.resumed, totals.resumed, passed),
            per_second(before.parallel, totals.parallel, passed),
            responses(0),
            responses(1),
            responses(2),
            responses(3),
            // A gap in the chart while it is unknown.
            (summary.of(published.origin().id).pace.median).map_or(f64::NAN, millis),
            cpu.map_or(f64::NAN, |cpu| {
                cpu.as_secs_f64() / passed.as_secs_f64().max(0.001) * 100.0
            }),
            totals
                .usage
                .map_or(f64::NAN, |usage| usage.resident as f64 / 1e6),
            all(|origin| origin.counters.open.get()),
        ])
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.map(Number))
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut history = serializer.serialize_struct("History", 3)?;
        history.serialize_field("columns", &self.columns[..])?;
        history.serialize_field("kept", &self.kept)?;
        history.serialize_field("rows", &self.rows)?;
        history.end()
    }
}

/// A number with at most three decimals, without a decimal point if whole, and null if it is not finite.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = rounded(self.0, 3);
        if number.fract() == 0.0 && number.abs() < 9e15 {
            serializer.serialize_i64(number as i64)
        } else {
            serializer.serialize_f64(number)
        }
    }
}
