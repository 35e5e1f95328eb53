//! What the clients are to do.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::connection::{Client, Delivered};
use crate::{
    catalog::Files,
    live::Live,
    units::{ByteSize, Span},
};

/// A plan for all clients of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The proxy.
    pub proxy: SocketAddr,
    /// Seeds contents, and who asks for what.
    pub seed: u64,
    /// Clients at the same time.
    pub clients: usize,
    /// The address each connects from; empty: any.
    pub addresses: Vec<Ipv4Addr>,
    /// Longest wait of a client for the next byte.
    pub patience: Span,
    /// Longest wait for the proxy's first right answer.
    pub ready_within: Span,
    /// What they do.
    pub work: Work,
}

impl Plan {
    /// The client with this number.
    #[must_use]
    pub fn client(&self, number: usize, delivered: &Delivered) -> Client {
        let address = self
            .addresses
            .get(number % self.addresses.len().max(1))
            .copied();
        Client::new(self.proxy, address, self.patience.get(), delivered.clone())
    }
}

/// What clients do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Each asks for one file after the other.
    Mix {
        /// The files.
        files: Files,
        /// Before anything is counted.
        warmup: Span,
        /// What is counted.
        lasting: Span,
        /// For requests under way at the end, to finish.
        grace: Span,
    },
    /// One client asks for one file.
    Download {
        /// Its length.
        size: ByteSize,
        /// Longest time for it; what came by then is counted.
        limit: Span,
    },
    /// Each plays the live stream.
    Viewers {
        /// The stream.
        live: Live,
        /// How long they watch.
        lasting: Span,
    },
}

impl Work {
    /// The same mix with another warm-up; other work has none.
    #[must_use]
    pub fn warmed_up(mut self, span: Span) -> Self {
        if let Self::Mix { warmup, .. } = &mut self {
            *warmup = span;
        }
        self
    }
}
