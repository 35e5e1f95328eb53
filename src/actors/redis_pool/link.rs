//! The connection to Redis: shared by all commands, each with a deadline.

use std::time::Duration;

use redis::{
    Cmd, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::time::timeout;

use super::target::Target;

/// Installs the process-wide cryptography provider for TLS. Repeated calls do nothing.
pub fn install_crypto() {
    // Fails if one is installed already.
    _ = rustls::crypto::ring::default_provider().install_default();
}

/// A connection to one node or a cluster. Clones share it.
#[derive(Clone)]
pub(super) struct Link {
    connection: Connection,
    patience: Duration,
}

#[derive(Clone)]
enum Connection {
    Node(ConnectionManager),
    // Boxed, because it is large.
    Cluster(Box<ClusterConnection>),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// No reply in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// Redis returned an error, or the connection failed.
    #[error("{0}")]
    Refused(#[from] redis::RedisError),
    /// No URL is set.
    #[error("no Redis is set")]
    Nowhere,
}

impl Link {
    /// Connects to `target`. `patience` is the timeout for replies from then on. Connecting may take twice that, and at least two
    /// seconds.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: no connection in that time.
    pub async fn open(target: &Target, patience: Duration) -> Result<Self, Trouble> {
        let connect = patience.max(Duration::from_secs(1));
        let opened = timeout(connect * 2, Self::connect(target, patience, connect)).await;
        opened.map_err(|_| Trouble::Silent(connect * 2))?
    }

    async fn connect(
        target: &Target,
        patience: Duration,
        connect: Duration,
    ) -> Result<Self, Trouble> {
        let connection = match target {
            Target::None => return Err(Trouble::Nowhere),
            Target::Node(url) => {
                // The library must not retry: the next tick does.
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(0)
                    .set_connection_timeout(Some(connect))
                    .set_response_timeout(Some(patience));
                let client = redis::Client::open(url.as_str())?;
                Connection::Node(ConnectionManager::new_with_config(client, config).await?)
            }
            Target::Cluster(nodes) => {
                let client = ClusterClient::builder(nodes.iter().map(String::as_str))
                    .connection_timeout(connect)
                    .response_timeout(patience)
                    .retries(1)
                    .build()?;
                Connection::Cluster(Box::new(client.get_async_connection().await?))
            }
        };
        Ok(Self {
            connection,
            patience,
        })
    }

    /// Sends a PING.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: no reply in time, or an error.
    pub async fn ping(&self) -> Result<(), Trouble> {
        self.run(&redis::cmd("PING")).await.map(drop)
    }

    /// Runs one command and returns its reply.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: no reply in time, or an error.
    pub async fn run(&self, command: &Cmd) -> Result<Value, Trouble> {
        // The library applies this timeout to the reply only; twice of it covers a new connection, too.
        let patience = self.patience * 2;
        let reply = async {
            match self.connection.clone() {
                Connection::Node(mut node) => node.req_packed_command(command).await,
                Connection::Cluster(mut cluster) => cluster.req_packed_command(command).await,
            }
        };
        let reply = timeout(patience, reply).await;
        let value = reply.map_err(|_| Trouble::Silent(patience))??;
        Ok(value.extract_error()?)
    }
}
