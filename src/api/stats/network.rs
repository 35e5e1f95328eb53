//! The quality of TCP connections in /stats.

use serde::Serialize;
use utoipa::ToSchema;

use crate::traffic::{line::LineStatus, published::Published, quality::Class};

/// The quality of lines, as measured by the kernel (TCP_INFO).
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Network {
    origin: LineStatus,
    clients: ClientLines,
}

/// The lines of client connections.
#[derive(Debug, Serialize, ToSchema)]
struct ClientLines {
    connections_by_class: ConnectionsByClass,
    /// Connections whose congestion control was changed because of their line's class.
    congestion_switches: u64,
}

/// Open client connections by class of their line.
#[derive(Debug, Serialize, ToSchema)]
struct ConnectionsByClass {
    good: u64,
    medium: u64,
    poor: u64,
    very_poor: u64,
}

impl Network {
    pub(in crate::api) fn of(published: &Published) -> Self {
        let clients = &published.clients;
        let open = |class: Class| clients.by_class[class as usize].get();
        Self {
            origin: **published.origin().line.load(),
            clients: ClientLines {
                connections_by_class: ConnectionsByClass {
                    good: open(Class::Good),
                    medium: open(Class::Medium),
                    poor: open(Class::Poor),
                    very_poor: open(Class::VeryPoor),
                },
                congestion_switches: clients.congestion_switches.get(),
            },
        }
    }
}
