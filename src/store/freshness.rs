//! Whether a response may be stored, and how long it may be used: RFC 9111, RFC 9213 and RFC 5861. Pure.
//!
//! A response is evaluated once, when it is stored, into a [`Freshness`]: a hit only compares times.

use std::time::{Duration, SystemTime};

use actix_http::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName, HttpDate},
};

use serde::{Deserialize, Serialize};

use super::directives::{Age, RequestDirectives, ResponseDirectives, members};

/// Statuses that may be stored without explicit freshness (RFC 9110 §15.1).
const HEURISTICALLY_CACHEABLE: [u16; 12] =
    [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501];

/// Responses to one request's conditions, range or syntax: they do not apply to other requests, and an attacker could poison the
/// store with them.
const NEVER_KEPT: [u16; 5] = [304, 400, 412, 416, 431];

/// The operator's settings.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Targeted fields that override Cache-Control; the first valid one counts (RFC 9213 §2.2).
    pub targeted: Vec<HeaderName>,
    /// Longest heuristic freshness computed from Last-Modified; zero: none.
    pub heuristic_max: Duration,
    /// Longest time that an error (4xx or 5xx) is stored.
    pub error_max: Duration,
    /// How long a stale response may be used while the origin fails, if nothing forbids it.
    pub stale_if_error: Duration,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Only responses to GET are stored.
    Method,
    /// The request has no-store.
    RequestNoStore,
    /// The response has no-store, or must-understand with an unknown status.
    NoStore,
    /// The response is private.
    Private,
    /// The request has credentials, and the response is not explicitly shareable (RFC 9111 §3.5).
    Credentials,
    /// The response sets a cookie.
    SetCookie,
    /// Vary is `*`, or contains an invalid field name.
    Vary,
    /// The status is never stored, or needs explicit freshness that is missing.
    Status,
}

/// The parts of a request that decide whether its response may be stored.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Whether it has an Authorization field.
    pub credentials: bool,
    /// Its cache directives.
    pub directives: &'a RequestDirectives,
}

/// Times of an exchange, by this host's clock.
#[derive(Clone, Copy, Debug)]
pub struct Exchanged {
    /// When the request was sent.
    pub asked: SystemTime,
    /// When the response head was received.
    pub answered: SystemTime,
}

/// How long a stored response may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct Freshness {
    /// When the response was generated or last validated, by this host's clock; its age counts from here (RFC 9111 §4.2.3).
    born: SystemTime,
    /// Its freshness lifetime.
    lifetime: Duration,
    /// How much longer it may be used while it is validated in the background.
    stale_while_revalidate: Duration,
    /// How much longer it may be used if the origin fails.
    stale_if_error: Duration,
    /// Whether it must be validated before each use.
    always_validated: bool,
    /// Whether clients may not request it stale (max-stale).
    never_stale: bool,
    /// Whether the response explicitly allows sharing: `public`, `s-maxage`, `max-age` or Expires.
    for_all: bool,
    /// Whether the response itself declares its freshness.
    explicit: bool,
}

/// A freshness as serialized on disk, in whole milliseconds: born (since 1970, rounded down), lifetime, stale-while-revalidate,
/// stale-if-error; then always validated, never stale, for all, explicit.
type Written = (u64, u64, u64, u64, bool, bool, bool, bool);

impl From<Freshness> for Written {
    fn from(freshness: Freshness) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let born = freshness.born.duration_since(SystemTime::UNIX_EPOCH);
        (
            millis(born.unwrap_or_default()),
            millis(freshness.lifetime),
            millis(freshness.stale_while_revalidate),
            millis(freshness.stale_if_error),
            freshness.always_validated,
            freshness.never_stale,
            freshness.for_all,
            freshness.explicit,
        )
    }
}

impl From<Written> for Freshness {
    fn from(written: Written) -> Self {
        let (
            born,
            lifetime,
            while_revalidate,
            if_error,
            always_validated,
            never_stale,
            for_all,
            explicit,
        ) = written;
        let born = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(born));
        Freshness {
            born: born.unwrap_or(SystemTime::UNIX_EPOCH),
            lifetime: Duration::from_millis(lifetime),
            stale_while_revalidate: Duration::from_millis(while_revalidate),
            stale_if_error: Duration::from_millis(if_error),
            always_validated,
            never_stale,
            for_all,
            explicit,
        }
    }
}

/// How a stored response may be used for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// At once.
    Fresh,
    /// At once, with validation in the background.
    StaleWhileRevalidate,
    /// Only after validation. If the origin fails, it may still be used if `stale_if_error`.
    Validate {
        /// Whether it may be used if the origin fails or is late.
        stale_if_error: bool,
    },
}

impl Freshness {
    /// Evaluates a response.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if it may not be stored.
    pub fn of(
        asked: Asked<'_>,
        status: StatusCode,
        fields: &HeaderMap,
        exchanged: Exchanged,
        rules: &Rules,
    ) -> Result<Self, Refusal> {
        let targeted =
            (rules.targeted.iter()).find_map(|name| ResponseDirectives::targeted(fields, name));
        let said = targeted.unwrap_or_else(|| ResponseDirectives::of(fields));
        storable(asked, status, fields, &said)?;

        let date = date(fields, &header::DATE).unwrap_or(exchanged.answered);
        // Expires is ignored if there is a targeted field (RFC 9213 §2.2).
        let expires = (targeted.is_none() && fields.contains_key(header::EXPIRES))
            .then(|| expires_after(fields, date));
        let explicit = said.s_maxage.get().or(said.max_age.get()).or(expires);
        let cacheable = HEURISTICALLY_CACHEABLE.contains(&status.as_u16());
        if explicit.is_none() && !cacheable && !said.public {
            return Err(Refusal::Status);
        }
        let is_error = status.is_client_error() || status.is_server_error();
        let guessed = || {
            let modified = self::date(fields, &header::LAST_MODIFIED)?;
            let unchanged = date.duration_since(modified).ok()?;
            Some((unchanged / 10).min(rules.heuristic_max))
        };
        let mut lifetime = explicit.or_else(guessed).unwrap_or_default();
        if is_error {
            lifetime = lifetime.min(rules.error_max);
        }

        let (age, is_readable) = age_told(fields);
        if !is_readable {
            lifetime = Duration::ZERO;
        }
        // RFC 9111 §4.2.3. The response delay counts: on a slow line it is seconds.
        let delay = exchanged.answered.duration_since(exchanged.asked);
        let corrected = age.saturating_add(delay.unwrap_or_default());
        let apparent = exchanged.answered.duration_since(date).unwrap_or_default();
        let initial_age = corrected.max(apparent);

        let forbids_stale = said.no_cache || said.must_revalidate || said.proxy_revalidate;
        let by_s_maxage = said.s_maxage != Age::Absent;
        let stale = |told: Age, otherwise: Duration| match told.get() {
            _ if forbids_stale => Duration::ZERO,
            Some(told) => told,
            None if by_s_maxage => Duration::ZERO,
            None => otherwise,
        };
        let if_error = if is_error {
            Duration::ZERO
        } else {
            rules.stale_if_error
        };
        Ok(Freshness {
            born: exchanged
                .answered
                .checked_sub(initial_age)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            lifetime,
            stale_while_revalidate: stale(said.stale_while_revalidate, Duration::ZERO),
            stale_if_error: stale(said.stale_if_error, if_error),
            always_validated: said.no_cache,
            never_stale: forbids_stale || by_s_maxage,
            for_all: said.public || explicit.is_some(),
            explicit: explicit.is_some(),
        })
    }

    /// How the response may be used for a request with these `directives`.
    pub fn judge(&self, directives: &RequestDirectives, now: SystemTime) -> Use {
        let age = self.age(now);
        let stale_for = age.saturating_sub(self.lifetime);
        let is_fresh = age < self.lifetime && !self.always_validated;
        let within = |bound: Duration| stale_for < bound && !self.always_validated;
        let validate = || Use::Validate {
            stale_if_error: within(
                directives
                    .stale_if_error
                    .get()
                    .map_or(self.stale_if_error, |asked| asked.min(self.stale_if_error)),
            ),
        };
        // The request's own directives (RFC 9111 §5.2.1).
        let too_old = directives.max_age.get().is_some_and(|most| age > most)
            || directives
                .min_fresh
                .get()
                .is_some_and(|least| age.saturating_add(least) > self.lifetime);
        if directives.no_cache {
            return validate();
        }
        let takes_stale = !self.never_stale
            && directives
                .max_stale
                .is_some_and(|most| stale_for <= most && !self.always_validated);
        match (is_fresh, too_old) {
            (true, false) => Use::Fresh,
            _ if takes_stale && directives.min_fresh == Age::Absent => Use::Fresh,
            (false, false) if within(self.stale_while_revalidate) => Use::StaleWhileRevalidate,
            _ => validate(),
        }
    }

    /// Current age (RFC 9111 §4.2.3), the value of `Age`.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.born).unwrap_or_default()
    }

    /// Remaining freshness in seconds; negative if stale. The value of `ttl` in Cache-Status.
    pub fn ttl(&self, now: SystemTime) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        seconds(self.lifetime) - seconds(self.age(now))
    }

    /// Whether it must be validated before each use, even by requests that waited for it.
    pub fn is_always_validated(&self) -> bool {
        self.always_validated
    }

    /// Whether the response explicitly allows sharing, whatever other fields the requests have.
    pub fn is_for_all(&self) -> bool {
        self.for_all
    }

    /// Adapts it for a live playlist: limits stale use to `stale_if_error`, and sets `lifetime` if the response does not declare
    /// its freshness.
    pub fn bound(&mut self, lifetime: Duration, stale_if_error: Duration) {
        if !self.explicit {
            self.lifetime = lifetime;
        }
        self.stale_if_error = self.stale_if_error.min(stale_if_error);
        self.stale_while_revalidate = self.stale_while_revalidate.min(stale_if_error);
    }

    /// Makes it stale now; it can still be used if the origin fails.
    pub fn expire(&mut self, now: SystemTime) {
        self.lifetime = self.lifetime.min(self.age(now));
        self.stale_while_revalidate = Duration::ZERO;
    }
}

/// Whether RFC 9111 §3 allows a shared cache to store the response.
fn storable(
    asked: Asked<'_>,
    status: StatusCode,
    fields: &HeaderMap,
    said: &ResponseDirectives,
) -> Result<(), Refusal> {
    let understood = HEURISTICALLY_CACHEABLE.contains(&status.as_u16());
    let no_store = if said.must_understand {
        !understood
    } else {
        said.no_store
    };
    let consents = said.public || said.must_revalidate || said.s_maxage != Age::Absent;
    let varies = members_of(fields, &header::VARY)
        .any(|name| name == b"*" || HeaderName::from_bytes(name).is_err());
    match () {
        () if *asked.method != Method::GET => Err(Refusal::Method),
        () if asked.directives.no_store => Err(Refusal::RequestNoStore),
        () if no_store => Err(Refusal::NoStore),
        () if said.private => Err(Refusal::Private),
        () if asked.credentials && !consents => Err(Refusal::Credentials),
        () if fields.contains_key(header::SET_COOKIE) => Err(Refusal::SetCookie),
        () if varies => Err(Refusal::Vary),
        () if status.is_informational() || NEVER_KEPT.contains(&status.as_u16()) => {
            Err(Refusal::Status)
        }
        () => Ok(()),
    }
}

/// The members of a list field, over all its lines.
pub fn members_of<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    fields
        .get_all(name)
        .flat_map(|line| members(line.as_bytes()))
}

/// Time from Date to Expires. Invalid or conflicting dates count as expired (RFC 9111 §5.3, §4.2.1).
fn expires_after(fields: &HeaderMap, date: SystemTime) -> Duration {
    let mut lines = fields.get_all(header::EXPIRES);
    let first = lines.next();
    if lines.any(|line| Some(line) != first) {
        return Duration::ZERO;
    }
    let expires = self::date(fields, &header::EXPIRES);
    expires
        .and_then(|expires| expires.duration_since(date).ok())
        .unwrap_or_default()
}

/// The value of Age, and whether it is valid; an invalid one makes the response stale. Of a list the first counts (RFC 9111 §5.1).
fn age_told(fields: &HeaderMap) -> (Duration, bool) {
    let Some(value) = fields.get(header::AGE) else {
        return (Duration::ZERO, true);
    };
    let first = value
        .as_bytes()
        .split(|&byte| byte == b',')
        .next()
        .unwrap_or_default();
    let digits = first.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return (Duration::ZERO, false);
    }
    let seconds = digits.iter().fold(0_u64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    (Duration::from_secs(seconds.min(1 << 31)), true)
}

/// Parses a date field (RFC 9110 §5.6.7).
pub fn date(fields: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let date: HttpDate = fields.get(name)?.to_str().ok()?.parse().ok()?;
    Some(date.into())
}

/// Fields that a 304 never changes, because they describe the stored body (RFC 9111 §3.2).
const OF_THE_BODY: [HeaderName; 3] = [
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_ENCODING,
];

/// Updates the stored fields with those of a 304 (RFC 9111 §3.2, §4.3.4).
pub fn update(stored: &mut HeaderMap, validated: &HeaderMap) {
    for name in validated.keys() {
        if OF_THE_BODY.contains(name) {
            continue;
        }
        stored.remove(name);
        for value in validated.get_all(name) {
            stored.append(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW: u64 = 784_111_777;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn http(seconds: u64) -> String {
        HttpDate::from(at(seconds)).to_string()
    }

    fn rules() -> Rules {
        Rules {
            targeted: vec![HeaderName::from_static("cdn-cache-control")],
            heuristic_max: 600 * SECOND,
            error_max: 10 * SECOND,
            stale_if_error: 3600 * SECOND,
        }
    }

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        fields
    }

    struct Case {
        method: Method,
        credentials: bool,
        directives: RequestDirectives,
        status: u16,
        delay: u64,
    }

    impl Default for Case {
        fn default() -> Self {
            Case {
                method: Method::GET,
                credentials: false,
                directives: RequestDirectives::default(),
                status: 200,
                delay: 0,
            }
        }
    }

    impl Case {
        fn store(&self, lines: &[(&str, &str)]) -> Result<Freshness, Refusal> {
            let asked = Asked {
                method: &self.method,
                credentials: self.credentials,
                directives: &self.directives,
            };
            let exchanged = Exchanged {
                asked: at(NOW - self.delay),
                answered: at(NOW),
            };
            let status = StatusCode::from_u16(self.status).unwrap();
            Freshness::of(asked, status, &fields(lines), exchanged, &rules())
        }
    }

    fn store(lines: &[(&str, &str)]) -> Freshness {
        Case::default().store(lines).unwrap()
    }

    fn says(directives: &str) -> RequestDirectives {
        RequestDirectives::of(&fields(&[("cache-control", directives)]))
    }

    fn after(freshness: &Freshness, seconds: u64) -> Use {
        freshness.judge(&RequestDirectives::default(), at(NOW + seconds))
    }

    /// The freshness lifetime in seconds, found by probing.
    fn lifetime(lines: &[(&str, &str)]) -> u64 {
        let freshness = store(lines);
        (0..)
            .find(|&seconds| after(&freshness, seconds) != Use::Fresh)
            .unwrap()
    }

    #[test]
    fn the_lifetime_is_the_first_that_is_told_in_the_order_of_the_rfcs() {
        let (date, expires) = (http(NOW), http(NOW + 30));
        let rows: &[(&[(&str, &str)], u64)] = &[
            (&[("cache-control", "max-age=60")], 60),
            (&[("cache-control", "max-age=60, s-maxage=10")], 10),
            (
                &[("cache-control", "max-age=60"), ("expires", &expires)],
                60,
            ),
            (&[("date", &date), ("expires", &expires)], 30),
            (&[("expires", &expires)], 30),
            (
                &[
                    ("cache-control", "max-age=60"),
                    ("cdn-cache-control", "max-age=5"),
                ],
                5,
            ),
            (
                &[
                    ("cache-control", "no-store"),
                    ("cdn-cache-control", "max-age=5"),
                ],
                5,
            ),
            (&[("expires", &expires), ("cdn-cache-control", "public")], 0),
            (
                &[
                    ("cache-control", "max-age=60"),
                    ("cdn-cache-control", "max-age=\"5"),
                ],
                60,
            ),
            (
                &[("cache-control", "max-age=60"), ("cdn-cache-control", "")],
                60,
            ),
            (&[("cache-control", "max-age=x"), ("expires", &expires)], 0),
            (&[("cache-control", "max-age=60, max-age=5")], 5),
            (&[("cache-control", "public")], 0),
            (&[], 0),
        ];
        for (lines, expected) in rows {
            assert_eq!(lifetime(lines), *expected, "{lines:?}");
        }
    }

    #[test]
    fn expires_that_is_no_date_of_http_is_in_the_past() {
        let date = http(NOW);
        for expires in [
            "0",
            "-1",
            "",
            "Sun, 06 Nov 1994 09:49:37 UTC",
            "Sun, 06 Nov 1994 09:49:37 +0000",
            "Sun 06 Nov 1994 09:49:37 GMT",
            "Sun, 06 Nov 1994 07:49:37 GMT",
            "tomorrow",
        ] {
            assert_eq!(
                lifetime(&[("date", &date), ("expires", expires)]),
                0,
                "{expires}"
            );
        }
        let (one, other) = (http(NOW + 30), http(NOW + 40));
        assert_eq!(lifetime(&[("expires", &one), ("expires", &other)]), 0);
    }

    #[test]
    fn a_guess_is_a_tenth_of_the_time_since_it_was_modified_and_has_a_bound() {
        let guess =
            |ago: u64| lifetime(&[("date", &http(NOW)), ("last-modified", &http(NOW - ago))]);
        assert_eq!(guess(1000), 100);
        assert_eq!(guess(10_000_000), 600);
        assert_eq!(
            lifetime(&[("date", &http(NOW)), ("last-modified", &http(NOW + 50))]),
            0
        );
        let not_found = Case {
            status: 404,
            ..Case::default()
        };
        let kept = not_found
            .store(&[("date", &http(NOW)), ("last-modified", &http(NOW - 1000))])
            .unwrap();
        assert_eq!(after(&kept, 9), Use::Fresh);
        assert_ne!(after(&kept, 10), Use::Fresh);
    }

    #[test]
    fn age_is_what_the_caches_before_and_the_line_have_taken() {
        let max_age = ("cache-control", "max-age=60");
        assert_eq!(lifetime(&[max_age, ("age", "50")]), 10);
        // Date is in the past: the response is at least that old.
        assert_eq!(lifetime(&[max_age, ("date", &http(NOW - 45))]), 15);
        assert_eq!(
            lifetime(&[max_age, ("date", &http(NOW - 45)), ("age", "50")]),
            10
        );
        // The duration of the exchange counts.
        let slow = Case {
            delay: 20,
            ..Case::default()
        };
        let kept = slow.store(&[max_age, ("age", "30")]).unwrap();
        assert_eq!(kept.age(at(NOW)), 50 * SECOND);
        // Of a list the first counts; an invalid Age makes it stale.
        assert_eq!(lifetime(&[max_age, ("age", "50, 1")]), 10);
        for age in ["-1", "1.5", "old", "", "0x1"] {
            assert_eq!(lifetime(&[max_age, ("age", age)]), 0, "{age}");
        }
        assert_eq!(lifetime(&[max_age, ("age", "99999999999999999999")]), 0);
    }

    #[test]
    fn age_counts_against_expires_less_date_also_where_date_is_ahead() {
        let (date, expires) = (http(NOW + 100), http(NOW + 130));
        assert_eq!(
            lifetime(&[("date", &date), ("expires", &expires), ("age", "20")]),
            10
        );
    }

    type Lines = [(&'static str, &'static str)];

    #[test]
    fn what_may_not_be_kept_says_why() {
        let get = Case::default;
        let rows: Vec<(Case, &Lines, Refusal)> = vec![
            (
                Case {
                    method: Method::HEAD,
                    ..get()
                },
                &[],
                Refusal::Method,
            ),
            (
                Case {
                    method: Method::POST,
                    ..get()
                },
                &[("cache-control", "max-age=9")],
                Refusal::Method,
            ),
            (
                Case {
                    directives: says("no-store"),
                    ..get()
                },
                &[],
                Refusal::RequestNoStore,
            ),
            (
                get(),
                &[("cache-control", "max-age=9, no-store")],
                Refusal::NoStore,
            ),
            (
                get(),
                &[("cache-control", "Private, max-age=9")],
                Refusal::Private,
            ),
            (
                get(),
                &[("cache-control", "private=\"x-id\"")],
                Refusal::Private,
            ),
            (
                get(),
                &[
                    ("set-cookie", "a=b"),
                    ("cache-control", "public, max-age=9"),
                ],
                Refusal::SetCookie,
            ),
            (
                get(),
                &[("vary", "accept"), ("vary", "x, *")],
                Refusal::Vary,
            ),
            (get(), &[("vary", "accept language")], Refusal::Vary),
            (
                Case {
                    credentials: true,
                    ..get()
                },
                &[("cache-control", "max-age=9")],
                Refusal::Credentials,
            ),
            (
                Case {
                    status: 400,
                    ..get()
                },
                &[("cache-control", "max-age=9")],
                Refusal::Status,
            ),
            (
                Case {
                    status: 416,
                    ..get()
                },
                &[("cache-control", "max-age=9")],
                Refusal::Status,
            ),
            (
                Case {
                    status: 431,
                    ..get()
                },
                &[("cache-control", "max-age=9")],
                Refusal::Status,
            ),
            (
                Case {
                    status: 500,
                    ..get()
                },
                &[],
                Refusal::Status,
            ),
            (
                Case {
                    status: 302,
                    ..get()
                },
                &[],
                Refusal::Status,
            ),
            (
                Case {
                    status: 299,
                    ..get()
                },
                &[("cache-control", "must-understand, max-age=9")],
                Refusal::NoStore,
            ),
        ];
        for (case, lines, why) in rows {
            assert_eq!(case.store(lines), Err(why), "{lines:?}");
        }
    }

    #[test]
    fn what_may_be_kept_is() {
        let get = Case::default;
        let rows: Vec<(Case, &Lines)> = vec![
            (
                Case {
                    credentials: true,
                    ..get()
                },
                &[("cache-control", "public")],
            ),
            (
                Case {
                    credentials: true,
                    ..get()
                },
                &[("cache-control", "s-maxage=9")],
            ),
            (
                Case {
                    credentials: true,
                    ..get()
                },
                &[("cache-control", "must-revalidate")],
            ),
            (
                Case {
                    status: 302,
                    ..get()
                },
                &[("cache-control", "max-age=9")],
            ),
            (
                Case {
                    status: 500,
                    ..get()
                },
                &[("cache-control", "max-age=9")],
            ),
            (get(), &[("cache-control", "no-store, must-understand")]),
            (get(), &[("pragma", "no-cache")]),
        ];
        for (case, lines) in rows {
            assert!(case.store(lines).is_ok(), "{lines:?}");
        }
        let error = Case {
            status: 500,
            ..get()
        }
        .store(&[("cache-control", "max-age=99")])
        .unwrap();
        assert_eq!(
            after(&error, 10),
            Use::Validate {
                stale_if_error: false
            }
        );
    }

    #[test]
    fn stale_responses_help_as_far_as_they_may() {
        let error = |stale_if_error| Use::Validate { stale_if_error };
        let rows: &[(&str, u64, Use)] = &[
            ("max-age=10", 11, error(true)),
            ("max-age=10", 3609, error(true)),
            ("max-age=10", 3610, error(false)),
            ("max-age=10, stale-if-error=5", 14, error(true)),
            ("max-age=10, stale-if-error=5", 15, error(false)),
            ("max-age=10, stale-if-error=0", 10, error(false)),
            ("max-age=10, must-revalidate", 10, error(false)),
            (
                "max-age=10, proxy-revalidate, stale-if-error=60",
                10,
                error(false),
            ),
            ("s-maxage=10", 10, error(false)),
            ("s-maxage=10, stale-if-error=60", 10, error(true)),
            ("no-cache, max-age=10", 1, error(false)),
            (
                "max-age=10, stale-while-revalidate=5",
                14,
                Use::StaleWhileRevalidate,
            ),
            ("max-age=10, stale-while-revalidate=5", 15, error(true)),
            (
                "max-age=10, stale-while-revalidate=5, must-revalidate",
                11,
                error(false),
            ),
            (
                "s-maxage=10, stale-while-revalidate=5",
                11,
                Use::StaleWhileRevalidate,
            ),
        ];
        for (said, seconds, expected) in rows {
            let kept = store(&[("cache-control", said)]);
            assert_eq!(
                after(&kept, *seconds),
                *expected,
                "{said} after {seconds} s"
            );
        }
    }

    #[test]
    fn a_client_asks_for_more_or_is_content_with_less() {
        let error = |stale_if_error| Use::Validate { stale_if_error };
        let rows: &[(&str, &str, u64, Use)] = &[
            ("max-age=60", "no-cache", 1, error(true)),
            ("max-age=60", "max-age=5", 5, Use::Fresh),
            ("max-age=60", "max-age=5", 6, error(true)),
            ("max-age=60", "max-age=0", 1, error(true)),
            ("max-age=60", "max-age=x", 1, error(true)),
            ("max-age=60", "min-fresh=10", 50, Use::Fresh),
            ("max-age=60", "min-fresh=10", 51, error(true)),
            ("max-age=60", "max-stale", 9000, Use::Fresh),
            ("max-age=60", "max-stale=5", 65, Use::Fresh),
            ("max-age=60", "max-stale=5", 66, error(true)),
            ("max-age=60, must-revalidate", "max-stale", 61, error(false)),
            ("s-maxage=60", "max-stale", 61, error(false)),
            ("no-cache", "max-stale", 1, error(false)),
            ("max-age=60", "stale-if-error=5", 64, error(true)),
            ("max-age=60", "stale-if-error=5", 65, error(false)),
            ("max-age=60", "x-unknown", 1, Use::Fresh),
            (
                "max-age=10, stale-while-revalidate=60",
                "max-age=5",
                11,
                error(true),
            ),
        ];
        for (said, asked, seconds, expected) in rows {
            let kept = store(&[("cache-control", said)]);
            let found = kept.judge(&says(asked), at(NOW + seconds));
            assert_eq!(
                found, *expected,
                "{said}, asked with {asked} after {seconds} s"
            );
        }
    }

    #[test]
    fn what_was_expired_by_hand_is_stale_and_still_helps_where_the_origin_fails() {
        let mut kept = store(&[("cache-control", "max-age=60, stale-while-revalidate=60")]);
        kept.expire(at(NOW + 5));
        assert_eq!(
            after(&kept, 5),
            Use::Validate {
                stale_if_error: true
            }
        );
    }

    #[test]
    fn a_304_changes_all_fields_but_those_of_the_body() {
        let mut stored = fields(&[
            ("etag", "\"a\""),
            ("x-one", "1"),
            ("x-one", "2"),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
        ]);
        update(
            &mut stored,
            &fields(&[
                ("cache-control", "max-age=9"),
                ("x-one", "3"),
                ("content-length", "0"),
                ("content-encoding", "br"),
                ("content-range", "bytes 0-1/2"),
            ]),
        );
        let expected = fields(&[
            ("etag", "\"a\""),
            ("cache-control", "max-age=9"),
            ("x-one", "3"),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
        ]);
        for name in expected.keys() {
            assert!(stored.get_all(name).eq(expected.get_all(name)), "{name}");
        }
        assert!(!stored.contains_key("content-range"));
    }

    proptest! {
        /// Time only makes a response worse.
        #[test]
        fn what_is_stale_never_gets_fresh_again(
            max_age in 0_u64..100, while_revalidate in 0_u64..100, if_error in 0_u64..100, age in 0_u64..100,
            earlier in 0_u64..300, later in 0_u64..300,
        ) {
            let said = format!("max-age={max_age}, stale-while-revalidate={while_revalidate}, stale-if-error={if_error}");
            let kept = store(&[("cache-control", &said), ("age", &age.to_string())]);
            let rank = |found| match found {
                Use::Fresh => 0,
                Use::StaleWhileRevalidate => 1,
                Use::Validate { stale_if_error: true } => 2,
                Use::Validate { stale_if_error: false } => 3,
            };
            let (first, second) = (earlier.min(later), earlier.max(later));
            // A response that may be served stale on error for less time than while it is validated goes from 1 to 3.
            prop_assert!(rank(after(&kept, first)) <= rank(after(&kept, second)));
        }

        /// No field causes a panic, and no lifetime exceeds the greatest age.
        #[test]
        fn any_fields_are_read(lines in proptest::collection::vec(("(cache-control|cdn-cache-control|expires|age|date|vary|last-modified|pragma)", "[ -~]{0,40}"), 0..6)) {
            let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            if let Ok(kept) = Case::default().store(&lines) {
                prop_assert!(after(&kept, 1 << 33) != Use::Fresh || lines.iter().any(|(name, _)| *name == "expires"));
            }
        }
    }
}
