//! A large body is begun with a Range, where its line is one on which several connections are worth it.

use std::time::Instant;

use actix_http::{
    StatusCode,
    header::{self, HeaderValue},
};
use awc::FrozenClientRequest;

use super::{
    exchange::Answered,
    fetch::{Beside, FetchError, kind_of},
    worker::Origin,
};
use crate::{
    path::{continuation::Continuation, range},
    traffic::tuning::Tuning,
};

/// Statuses that say something of the target or of the origin, not of the Range.
const TOLD_OF_THE_TARGET: [StatusCode; 6] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::NOT_FOUND,
    StatusCode::GONE,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
];

impl Origin {
    /// The range to begin with, where the body is known to be large enough to come over several connections, and its
    /// line is one on which that lately was worth it. Else a whole body would be asked for, and most of it thrown away.
    pub(super) fn first_part(
        &self,
        head: &FrozenClientRequest,
        is_get: bool,
        tuning: &Tuning,
    ) -> Option<HeaderValue> {
        let asks_for_less = || {
            head.headers().contains_key(header::RANGE)
                || head.headers().contains_key(header::IF_RANGE)
        };
        let several = is_get && tuning.parallel && tuning.resume && self.usual_width() > 1;
        if !several || !self.wants_several() || asks_for_less() {
            return None;
        }
        let settings = &self.shared.transfers;
        let expected = self.shared.published.sizes.expect(kind_of(head))?;
        if !expected.ranges || expected.bytes < settings.parallel_least.as_u64() {
            return None;
        }
        let last = settings.parallel_segment.as_u64().saturating_sub(1);
        HeaderValue::from_str(&format!("bytes=0-{last}")).ok()
    }

    /// Asks for the first part of a body, and with it for the length of the whole. Where what comes is not the first
    /// part of something that can be continued, it is asked for again, the plain way.
    pub(super) async fn fetch_first_part(
        &self,
        head: &FrozenClientRequest,
        part: HeaderValue,
        beside: Beside,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<(Answered, Option<u64>), FetchError> {
        let mut fields = head.headers().clone();
        fields.insert(header::RANGE, part);
        let asking = self.frozen(head.get_method().clone(), head.get_uri().clone(), fields)?;
        let counters = &self.shared.published.counters.origin;
        let sent = self.exchange(&asking, beside, tuning, deadline).await?;
        match sent.status {
            StatusCode::PARTIAL_CONTENT => {
                let framing = sent.head.framing;
                let most = self.shared.transfers.parallel_segment.as_u64();
                let whole = Continuation::of(sent.status, &sent.headers, framing)
                    .filter(|_| !range::digests_content(&sent.headers))
                    .and_then(|first| first.begins_whole(most));
                if let Some(whole) = whole {
                    counters.first_parts.increment();
                    return Ok((sent, Some(whole)));
                }
            }
            // The whole, or none of it, whatever was asked for: the same would come again.
            status
                if status.is_success()
                    || status.is_redirection()
                    || TOLD_OF_THE_TARGET.contains(&status) =>
            {
                return Ok((sent, None));
            }
            // It may be the Range that it does not like.
            _ => {}
        }
        tracing::debug!(status = %sent.status, "a first part was not what was asked for, asking for the whole");
        drop(sent);
        // It counts at the rate limit, and is not held up by it: its turn has come.
        _ = self.published().gate.admit_spare(Instant::now());
        self.exchange(head, Beside::default(), tuning, deadline)
            .await
            .map(|sent| (sent, None))
    }
}
