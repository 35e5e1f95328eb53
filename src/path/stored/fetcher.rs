//! Asks the origin for something that the store wants: the same request again, with another Range or another condition.

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

/// Fields that ask for a part, or for an answer only under a condition.
const OF_ONE_REQUEST: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// A client's GET, to be asked again in parts.
pub struct Fetcher {
    /// Whom it asks.
    pub origin: Rc<Origin>,
    /// Who asked for what: its requests pass the rate limit as that client's.
    pub keys: Keys,
    /// The client's place for a canary.
    pub bucket: Bucket,
    /// Where the client is from.
    pub network: Network,
    /// The target.
    pub target: PathAndQuery,
    /// The fields that the origin sees, as the client asked.
    pub fields: HeaderMap,
    /// Whether nobody waits for it: it is asked for only by what nobody else needs.
    pub is_spare: bool,
}

impl Fetcher {
    /// Asks the origin with these `extra` fields, in place of those by which the client asked for a part or under a condition. Who
    /// is `informed` gets interim responses.
    ///
    /// # Errors
    ///
    /// [`ProxyError`], where there is no response.
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

    /// The same client's request for another target, for which nobody waits.
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

    /// The fields by which the client asked for a part, or under a condition.
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
