//! What all workers share of the origin.

use std::sync::Arc;

use super::{
    connection::Connection,
    parts_under_way::PartsUnderWay,
    resolver::Anew,
    settings::Settings,
    slots::Slots,
    sockets::Sockets,
    tls::{Tls, TlsError},
    transfer_state::TransferState,
};
use crate::{
    path::{tcp, transfers},
    traffic::origin::OriginState,
};

/// What all workers share of one origin.
#[derive(Clone, Debug)]
pub struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) options: Arc<tcp::Settings>,
    pub(super) transfers: Arc<transfers::Settings>,
    /// Retry budgets, throughput and line quality, for all bodies.
    pub(super) transfer_state: Arc<TransferState>,
    pub(super) tls: Option<Tls>,
    pub(super) slots: Arc<Slots>,
    pub(super) parts_under_way: Arc<PartsUnderWay>,
    pub(super) sockets: Arc<Sockets>,
    /// Makes the resolvers look the origin's name up again.
    pub(super) anew: Anew,
    /// What is measured and decided.
    pub(super) state: Arc<OriginState>,
}

impl Shared {
    /// Prepares the shared state of an origin.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the TLS settings are invalid.
    pub fn new(
        settings: Settings,
        options: tcp::Settings,
        transfers: transfers::Settings,
        state: Arc<OriginState>,
    ) -> Result<Self, TlsError> {
        let tls = settings
            .url
            .is_https()
            .then(|| Tls::new(&settings.tls, settings.url.host()))
            .transpose()?;
        let tuning = state.tuning.load();
        let counters = Arc::clone(&state.counters);
        Ok(Shared {
            slots: Arc::new(Slots::new(
                tuning.connections_at_once(),
                tuning.connections,
                settings.waiting_connections,
                Arc::clone(&counters),
            )),
            parts_under_way: Arc::new(PartsUnderWay::new(state.since)),
            sockets: Arc::new(Sockets::new(Arc::clone(&counters))),
            settings: Arc::new(settings),
            options: Arc::new(options),
            transfer_state: Arc::new(TransferState::new(&transfers, counters, state.since)),
            transfers: Arc::new(transfers),
            tls,
            anew: Anew::default(),
            state: Arc::clone(&state),
        })
    }

    /// Measures the line to the origin on one connection.
    pub(super) fn look(&self, connection: &Connection) {
        let class = self.transfer_state.look(connection, &self.state.line);
        if self.state.concurrency.know_line(class) {
            self.set_slots();
        }
    }

    /// Applies the current slot limits. They are the stable group's, because slots are shared by all clients.
    pub(super) fn set_slots(&self) {
        let tuning = self.state.tuning.load();
        let limit = self.state.concurrency.limit(tuning.connections_at_once());
        self.slots.set(limit, tuning.connections);
    }

    /// Makes all workers resolve the origin's name again before their next connection.
    pub fn resolve_anew(&self) {
        self.anew.ask();
    }

    /// The same origin with other settings; counts of open connections and slots continue. None if nothing changed.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the TLS settings are invalid.
    pub fn renewed(
        &self,
        settings: &Settings,
        options: &tcp::Settings,
        transfers: &transfers::Settings,
    ) -> Result<Option<Self>, TlsError> {
        // The CA file may have other content than before.
        let rereads = settings.url.is_https() && !settings.tls.ca_file.as_os_str().is_empty();
        let same_transfers = *self.transfers == *transfers;
        if *self.settings == *settings && *self.options == *options && same_transfers && !rereads {
            return Ok(None);
        }
        let fresh = Self::new(
            settings.clone(),
            options.clone(),
            transfers.clone(),
            Arc::clone(&self.state),
        )?;
        self.slots.set_waiting(settings.waiting_connections);
        let transfer_state = if same_transfers {
            Arc::clone(&self.transfer_state)
        } else {
            fresh.transfer_state
        };
        Ok(Some(Shared {
            slots: Arc::clone(&self.slots),
            parts_under_way: Arc::clone(&self.parts_under_way),
            sockets: Arc::clone(&self.sockets),
            anew: self.anew.clone(),
            transfer_state,
            ..fresh
        }))
    }
}
