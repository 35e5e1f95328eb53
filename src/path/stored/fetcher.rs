//! Requests something from the origin for the store: the client's request, with another Range or condition.

use std::{
    rc::Rc,
    time::{Instant, SystemTime},
};

use actix_http::{
    Method,
    header::{self, HeaderMap, HeaderName},
    uri::PathAndQuery,
};

use crate::{
    path::{
        admission,
        client::Client,
        error::ProxyError,
        network::Network,
        origin::{Fetched, Origin, fetch::Request},
    },
    store::freshness::Exchanged,
    traffic::{canary::split::Bucket, keys::Keys},
};

/// Fields that make a request partial or conditional.
const OF_ONE_REQUEST: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// A client's GET that can be sent again for parts.
pub struct Fetcher {
    /// The origin to ask.
    pub origin: Rc<Origin>,
    /// The client's rate limit keys, which these requests count for.
    pub keys: Keys,
    /// The client's canary bucket.
    pub bucket: Bucket,
    /// The client's network.
    pub network: Network,
    /// The target.
    pub target: PathAndQuery,
    /// The request fields as sent to the origin.
    pub fields: HeaderMap,
    /// Whether no client waits for it: it then uses only capacity that is to spare.
    pub is_spare: bool,
}

impl Fetcher {
    /// Sends the request with the `extra` fields instead of the client's own range and conditions. `informed` receives interim
    /// responses.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] if there is no response.
    pub async fn get(
        &self,
        extra: &HeaderMap,
        informed: Option<Rc<Client>>,
    ) -> Result<(Fetched, Exchanged), ProxyError> {
        let tuning = self.origin.state().tuning_for(self.bucket).load_full();
        let deadline = Instant::now() + tuning.exchange_timeout;
        if !self.is_spare {
            admission::admit(self.origin.state(), &tuning, self.keys).await?;
        }
        let mut headers = self.fields.clone();
        for name in OF_ONE_REQUEST {
            headers.remove(name);
        }
        for (name, value) in extra {
            headers.append(name.clone(), value.clone());
        }
        let request = Request {
            method: Method::GET,
            target: self.target.clone(),
            headers,
            upload: None,
            informed,
            bucket: self.bucket,
            network: self.network,
        };
        let fetched = match self.is_spare {
            false => self.origin.fetch(request, &tuning, deadline).await,
            true => self.origin.fetch_spare(request, &tuning, deadline).await,
        };
        let fetched = fetched.map_err(|error| ProxyError::of(error, None))?;
        let answered = SystemTime::now();
        let asked = answered - fetched.ttfb;
        Ok((fetched, Exchanged { asked, answered }))
    }

    /// A request of the same client for another target, for which no client waits.
    pub fn spare(&self, target: PathAndQuery) -> Self {
        let mut fields = self.fields.clone();
        for name in OF_ONE_REQUEST {
            fields.remove(name);
        }
        Fetcher {
            origin: Rc::clone(&self.origin),
            keys: self.keys,
            bucket: self.bucket,
            network: self.network,
            target,
            fields,
            is_spare: true,
        }
    }

    /// The client's fields for a range or condition.
    pub fn conditions(&self) -> HeaderMap {
        let mut conditions = HeaderMap::new();
        for name in OF_ONE_REQUEST {
            for value in self.fields.get_all(&name) {
                conditions.append(name.clone(), value.clone());
            }
        }
        conditions
    }
}
