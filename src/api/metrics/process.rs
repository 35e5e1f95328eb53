//! Metrics of the process itself: version, time, memory, certificate, log.

use std::time::UNIX_EPOCH;

use crate::{
    api::{
        exposition::{
            Exposition,
            Kind::{Counter, Gauge},
        },
        process::{OpenFiles, Usage},
    },
    traffic::{counters::LOG, published::Published},
};

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
    out.by(
        Gauge,
        "fileproxy_build_info",
        "Always 1; the version is the label.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
    );
    let started = published.started_at.duration_since(UNIX_EPOCH);
    out.one(
        Gauge,
        "process_start_time_seconds",
        "When the process started, since 1970.",
        started.unwrap_or_default().as_secs_f64(),
    );
    if let Some(usage) = Usage::now() {
        out.one(
            Counter,
            "process_cpu_seconds_total",
            "Processor time of the process.",
            usage.cpu.as_secs_f64(),
        );
        out.one(
            Gauge,
            "process_resident_memory_bytes",
            "Memory of the process that is in RAM.",
            usage.resident,
        );
    }
    if let Some(files) = OpenFiles::now() {
        out.one(
            Gauge,
            "process_open_fds",
            "Open files and sockets.",
            files.open,
        );
        out.one(
            Gauge,
            "process_max_fds",
            "Most open files and sockets that the system allows (ulimit -n).",
            files.most,
        );
    }
    out.one(
        Gauge,
        "fileproxy_workers",
        "Threads that serve.",
        published.workers,
    );
    out.one(
        Gauge,
        "fileproxy_draining",
        "1 while no new work is taken.",
        u8::from(published.is_draining()),
    );
    if let Some(validity) = published.certificate.load().as_deref() {
        let end = validity.not_after.duration_since(UNIX_EPOCH);
        out.one(
            Gauge,
            "fileproxy_certificate_expiry_timestamp_seconds",
            "Until when the certificate that clients see is valid, since 1970.",
            end.unwrap_or_default().as_secs(),
        );
    }
    out.one(
        Counter,
        "fileproxy_log_lines_dropped_total",
        "Log lines that nobody got: their reader stood still or had no room.",
        LOG.dropped.get(),
    );
}
