//! The validity period of a certificate, and its status.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use utoipa::ToSchema;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A certificate should be renewed this long before its end. Automatic renewal happens earlier.
pub const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The validity period of a certificate (RFC 5280 §4.1.2.5), both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

/// The status of a certificate for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateStatus {
    /// Clients accept it.
    Valid,
    /// Clients accept it for at most fourteen more days.
    Expiring,
    /// Clients reject it: its period has ended.
    Expired,
    /// Clients reject it: its period has not begun.
    NotYetValid,
}

impl Validity {
    /// The period of a DER certificate; none if it cannot be parsed.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        const SEQUENCE: u8 = 0x30;
        const VERSION: u8 = 0xa0;
        let (_, certificate, _) = value(certificate)?;
        let (_, mut fields, _) = value(certificate)?;
        if fields.first() == Some(&VERSION) {
            (_, _, fields) = value(fields)?;
        }
        // Skips serial number, signature algorithm and issuer.
        for _ in 0..3 {
            (_, _, fields) = value(fields)?;
        }
        let (SEQUENCE, validity, _) = value(fields)? else {
            return None;
        };
        let (kind, not_before, validity) = value(validity)?;
        let not_before = moment(kind, not_before)?;
        let (kind, not_after, _) = value(validity)?;
        Some(Validity {
            not_before,
            not_after: moment(kind, not_after)?,
        })
    }

    /// The status at `now`.
    pub fn worth(&self, now: SystemTime) -> CertificateStatus {
        if now < self.not_before {
            CertificateStatus::NotYetValid
        } else if now > self.not_after {
            CertificateStatus::Expired
        } else if now + SOON > self.not_after {
            CertificateStatus::Expiring
        } else {
            CertificateStatus::Valid
        }
    }
}

/// Tag and contents of the first DER value (X.690 §8.1), and the bytes behind it.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    const LONG: u8 = 0x80;
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < LONG {
        (usize::from(first), rest)
    } else {
        let octets = usize::from(first - LONG);
        if octets == 0 || octets > 4 {
            return None;
        }
        let (octets, rest) = rest.split_at_checked(octets)?;
        let length = octets
            .iter()
            .fold(0, |n, &octet| n << 8 | usize::from(octet));
        (length, rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// Parses a UTCTime `YYMMDDHHMMSSZ` or a GeneralizedTime `YYYYMMDDHHMMSSZ`. Times before 1970 become 1970.
fn moment(kind: u8, text: &[u8]) -> Option<SystemTime> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let digits = text.strip_suffix(b"Z")?;
    let number = |digits: &[u8]| {
        let digit = |n: u64, &digit: &u8| {
            digit
                .is_ascii_digit()
                .then(|| n * 10 + u64::from(digit - b'0'))
        };
        digits.iter().try_fold(0, digit)
    };
    let (year, rest) = match kind {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let mut parts = [0; 5];
    for (part, digits) in parts.iter_mut().zip(rest.chunks(2)) {
        *part = number(digits)?;
    }
    let [month, day, hour, minute, second] = parts;
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if year < 1970 {
        return Some(UNIX_EPOCH);
    }
    let within = Duration::from_secs(hour * 3600 + minute * 60 + second);
    UNIX_EPOCH.checked_add(DAY * u32::try_from(days(year, month, day)).ok()? + within)
}

/// Days from 1970-01-01 to a later day of the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Counts years from March, so that the leap day is the last day.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year / 4 - year / 100 + year / 400;
    let in_year = (153 * month + 2) / 5 + day - 1;
    const TO_1970: u64 = 719_468;
    365 * year + leaps + in_year - TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: u8, text: &str) -> Option<String> {
        let at = moment(kind, text.as_bytes())?;
        Some(humantime::format_rfc3339_seconds(at).to_string())
    }

    #[test]
    fn both_ways_to_write_a_moment_are_read() {
        for (kind, text, shown) in [
            (0x17, "700101000000Z", "1970-01-01T00:00:00Z"),
            (0x17, "491231235959Z", "2049-12-31T23:59:59Z"),
            (0x17, "500101000000Z", "1970-01-01T00:00:00Z"),
            (0x17, "240229120000Z", "2024-02-29T12:00:00Z"),
            (0x18, "21000301000000Z", "2100-03-01T00:00:00Z"),
            (0x18, "99991231235959Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(told(kind, text).as_deref(), Some(shown), "{text}");
        }
        for (kind, text) in [
            (0x17, "240229120000"),
            (0x17, "2402291200Z"),
            (0x17, "24x229120000Z"),
            (0x17, "241329120000Z"),
            (0x17, "24022912000é"),
            (0x18, "240229120000Z"),
            (0x02, "240229120000Z"),
            (0x17, "Z"),
        ] {
            assert_eq!(told(kind, text), None, "{text}");
        }
    }

    #[test]
    fn the_validity_of_a_certificate_is_found_and_broken_bytes_have_none() {
        let mut made = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        made.not_before = rcgen::date_time_ymd(2024, 2, 29);
        made.not_after = rcgen::date_time_ymd(2061, 7, 8);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = made.self_signed(&key).unwrap();
        let validity = Validity::of(certificate.der()).unwrap();
        let shown = |at| humantime::format_rfc3339_seconds(at).to_string();
        assert_eq!(shown(validity.not_before), "2024-02-29T00:00:00Z");
        assert_eq!(shown(validity.not_after), "2061-07-08T00:00:00Z");
        for end in 0..150 {
            _ = Validity::of(&certificate.der()[..end]);
        }
        assert_eq!(Validity::of(b""), None);
        assert_eq!(Validity::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn a_certificate_is_worth_something_from_its_first_moment_to_its_last() {
        let at = |days: u32| UNIX_EPOCH + DAY * days;
        let validity = Validity {
            not_before: at(100),
            not_after: at(200),
        };
        for (now, worth) in [
            (at(99), CertificateStatus::NotYetValid),
            (at(100), CertificateStatus::Valid),
            (at(186), CertificateStatus::Valid),
            (at(187), CertificateStatus::Expiring),
            (at(200), CertificateStatus::Expiring),
            (at(201), CertificateStatus::Expired),
        ] {
            assert_eq!(validity.worth(now), worth, "{now:?}");
        }
    }
}
