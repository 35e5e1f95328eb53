//! Metrics of client connections and refused requests.

use crate::{
    api::exposition::{
        Exposition,
        Kind::{Counter, Gauge},
    },
    traffic::{published::Published, quality::Class},
};

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
    let clients = &published.clients;
    out.one(
        Gauge,
        "fileproxy_requests_in_flight",
        "Requests in a handler or with a body under way.",
        clients.requests.get(),
    );
    out.one(
        Counter,
        "fileproxy_sent_bytes_total",
        "Response body bytes handed to clients, as they go.",
        clients.sent_bytes.get(),
    );
    out.one(
        Gauge,
        "fileproxy_origin_uploads_held_bytes",
        "Bytes of small request bodies that wait to be whole.",
        clients.uploads_held.get(),
    );
    out.one(
        Gauge,
        "fileproxy_client_connections",
        "Client connections open.",
        clients.open.get(),
    );
    out.one(
        Gauge,
        "fileproxy_tls_handshakes",
        "TLS handshakes under way, from the client's first message on.",
        clients.handshakes.get(),
    );
    out.one(
        Gauge,
        "fileproxy_upgraded_connections",
        "Connections that speak another protocol with the origin.",
        clients.upgraded.get(),
    );
    out.by(
        Gauge,
        "fileproxy_client_lines",
        "Client connections by the class of their line.",
        "class",
        Class::ALL
            .iter()
            .zip(&clients.by_class)
            .map(|(class, open)| (class.as_str(), open.get())),
    );
    for (name, help, counter) in [
        (
            "fileproxy_client_connections_accepted_total",
            "Client connections accepted.",
            &clients.accepted,
        ),
        (
            "fileproxy_client_connections_refused_total",
            "Client connections answered 503 because there were too many.",
            &clients.over_limit,
        ),
        (
            "fileproxy_client_connections_made_room_total",
            "Client connections without a request under way that were closed to make room for others.",
            &clients.idle_closed,
        ),
        (
            "fileproxy_tls_handshakes_failed_total",
            "TLS handshakes that failed or took too long.",
            &clients.handshakes_failed,
        ),
        (
            "fileproxy_tls_handshakes_refused_total",
            "Connections closed before their TLS handshake was done, to make room for others.",
            &clients.handshakes_refused,
        ),
        (
            "fileproxy_http2_connections_accepted_total",
            "Client connections that chose HTTP/2.",
            &clients.http2,
        ),
        (
            "fileproxy_http2_reset_floods_total",
            "HTTP/2 connections ended because the client gave up too many requests.",
            &clients.reset_floods,
        ),
        (
            "fileproxy_http2_frame_floods_total",
            "HTTP/2 connections ended because the client sent too many frames that brought nothing.",
            &clients.frame_floods,
        ),
        (
            "fileproxy_interim_responses_total",
            "Interim responses (1xx) passed on.",
            &clients.interim,
        ),
        (
            "fileproxy_interim_responses_dropped_total",
            "Interim responses left out: too many, or half of another answer was out.",
            &clients.interim_dropped,
        ),
        (
            "fileproxy_upgrades_total",
            "Connections that switched to another protocol.",
            &clients.upgrades,
        ),
        (
            "fileproxy_upgrades_refused_total",
            "Offers to switch answered 503 because too many connections had.",
            &clients.upgrades_refused,
        ),
        (
            "fileproxy_congestion_switches_total",
            "Client connections given another congestion control.",
            &clients.congestion_switches,
        ),
        (
            "fileproxy_samples_dropped_total",
            "Requests that the counting actor was too busy for.",
            &clients.samples_dropped,
        ),
    ] {
        out.one(Counter, name, help, counter.get());
    }
    out.by(
        Counter,
        "fileproxy_client_faults_total",
        "Clients that were cut off, by why.",
        "fault",
        [
            ("slow_head", clients.head_timeouts.get()),
            ("bad_head", clients.bad_heads.get()),
            ("bad_body", clients.bad_bodies.get()),
            ("slow_body", clients.body_timeouts.get()),
            ("stopped_reading", clients.send_timeouts.get()),
        ],
    );
}
