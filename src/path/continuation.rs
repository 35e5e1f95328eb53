//! Decides whether another response may continue an interrupted body. Pure.

use actix_http::{
    StatusCode,
    header::{self, HeaderMap},
};

use super::{
    framing::Framing,
    range::{self, ContentRange},
};
use crate::store::validator::{Validator, is_coded, single};

/// The position in a body, and the conditions under which another response may continue it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    validator: Validator,
    /// Position of the next byte, counted from the start of the complete representation.
    next: u64,
    /// Position behind the last wanted byte, if known.
    end: Option<u64>,
    /// Complete length of the representation, if known.
    complete: Option<u64>,
    /// The first response declared no length, and `end` was learned from a later 206 or 416. A file that is still being written may
    /// grow beyond it under the same validator.
    assumed: bool,
    /// Whether the origin declared `Accept-Ranges: bytes`, or answered with a range.
    ranges: bool,
}

/// What a follow-up request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The rest, after a break. A complete 200 is accepted as well.
    Rest,
    /// A part, or the rest of a part: only a 206 is accepted.
    Part,
    /// The rest, while the original response is still open: only a 206 with the declared length is accepted.
    Beside,
    /// The whole body, because its length is uncertain and only a complete response proves where it ends.
    Whole,
}

/// Why a response cannot continue the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Not a 206: the origin does not support ranges, or the file has changed.
    #[error("the origin answered {0} to a request for the rest")]
    Status(u16),
    /// The validator (ETag or Last-Modified) differs.
    #[error("the file changed: its validator is another one")]
    Validator,
    /// The range is not the requested one.
    #[error("the origin sent another range than the one asked for")]
    Range,
    /// The complete length differs or is missing.
    #[error("the origin told another length than before")]
    Length,
    /// The body has a content coding.
    #[error("the rest came with a content coding")]
    Coded,
    /// A 200 would repeat more of the body than may be read again.
    #[error("too much of the body would have to be read once more")]
    TooFar,
}

/// What a response to a follow-up request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continued {
    /// The body, from the current position of the [`Continuation`] on.
    Body,
    /// No bytes: the origin confirmed that nothing follows for now.
    Nothing,
}

impl Continuation {
    /// For a response whose body has not begun; `None` if no other response could continue it.
    pub fn of(status: StatusCode, headers: &HeaderMap, framing: Framing) -> Option<Self> {
        let validator = Validator::of(headers)?;
        if is_coded(headers) {
            return None;
        }
        let (next, end, complete) = match (status, framing) {
            (StatusCode::OK, Framing::Length(length)) => (0, Some(length), Some(length)),
            (StatusCode::OK, Framing::Chunked | Framing::UntilClose) => (0, None, None),
            (StatusCode::PARTIAL_CONTENT, framing) => {
                let range = ContentRange::parse(single(headers, header::CONTENT_RANGE)?)?;
                let length = range.last - range.first + 1;
                if matches!(framing, Framing::Length(told) if told != length) {
                    return None;
                }
                (range.first, Some(range.last + 1), range.complete)
            }
            _ => return None,
        };
        // A Last-Modified date is accepted only together with the complete length.
        let enough = complete.is_some() || matches!(validator, Validator::Tag(_));
        enough.then_some(Continuation {
            validator,
            next,
            end,
            complete,
            assumed: false,
            ranges: status == StatusCode::PARTIAL_CONTENT || range::offered(headers),
        })
    }

    /// Whether it may be fetched over several connections. Servers without ETags often lack range support, so they must have
    /// declared it.
    pub fn may_be_divided(&self) -> bool {
        self.ranges || matches!(self.validator, Validator::Tag(_))
    }

    /// The part from `from` to before `end` of the same representation.
    pub fn part(&self, from: u64, end: u64) -> Self {
        Continuation {
            next: from,
            end: Some(end),
            ..self.clone()
        }
    }

    /// The same body from another position on.
    pub fn at(&self, next: u64) -> Self {
        Continuation {
            next,
            ..self.clone()
        }
    }

    /// Restricts what is wanted to the bytes before `end`.
    pub fn limit(&mut self, end: u64) {
        self.end = Some(end);
    }

    /// Position behind the last wanted byte, if known.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// Advances the position.
    pub fn advance(&mut self, bytes: u64) {
        self.next += bytes;
    }

    /// Whether everything that is wanted was received, as far as the end is known.
    pub fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Whether the known end has not been reached yet.
    pub fn falls_short(&self) -> bool {
        self.end.is_some_and(|end| self.next < end)
    }

    /// Whether the end is only an assumption: then only a complete response proves it.
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// Whether the first response declared the complete length, so that the file is not still growing.
    pub fn is_told(&self) -> bool {
        self.complete.is_some() && !self.assumed
    }

    /// Position of the next byte.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The validator to send as If-Range.
    pub fn validator(&self) -> &Validator {
        &self.validator
    }

    /// The value of the Range field.
    pub fn range(&self) -> String {
        match self.end {
            // A range to the end of the representation is written without an end.
            Some(end) if self.complete != Some(end) => {
                format!("bytes={}-{}", self.next, end.saturating_sub(1))
            }
            _ => format!("bytes={}-", self.next),
        }
    }

    /// Checks that a response continues the same representation at the current position. A 200 starts at the first byte, and the
    /// position is set back to 0.
    ///
    /// # Errors
    ///
    /// [`Mismatch`]: no byte of it may be used.
    pub fn check(
        &mut self,
        ask: Ask,
        status: StatusCode,
        headers: &HeaderMap,
        framing: Framing,
    ) -> Result<Continued, Mismatch> {
        match (status, ask) {
            (StatusCode::RANGE_NOT_SATISFIABLE, Ask::Rest) => self.check_nothing(headers),
            (StatusCode::OK, Ask::Rest | Ask::Whole) => self.check_whole(headers, framing),
            (StatusCode::PARTIAL_CONTENT, Ask::Rest | Ask::Part | Ask::Beside) => {
                self.check_part(ask, headers, framing)
            }
            _ => Err(Mismatch::Status(status.as_u16())),
        }
    }

    /// Checks a 416: a body without a declared length broke exactly at its current end.
    fn check_nothing(&mut self, headers: &HeaderMap) -> Result<Continued, Mismatch> {
        let complete = single(headers, header::CONTENT_RANGE).and_then(ContentRange::unsatisfied);
        let open = self.end.is_none() || self.assumed;
        if !open || complete != Some(self.next) {
            return Err(Mismatch::Status(StatusCode::RANGE_NOT_SATISFIABLE.as_u16()));
        }
        if self.validator.contradicts(headers) {
            return Err(Mismatch::Validator);
        }
        if self.complete.is_some() && self.complete != complete {
            return Err(Mismatch::Length);
        }
        (self.end, self.complete, self.assumed) = (complete, complete, true);
        Ok(Continued::Nothing)
    }

    /// Checks a 200; the bytes that were already sent will be skipped.
    fn check_whole(
        &mut self,
        headers: &HeaderMap,
        framing: Framing,
    ) -> Result<Continued, Mismatch> {
        self.check_version(headers)?;
        let same_length = match (framing, self.complete) {
            (Framing::Length(told), Some(complete)) => told == complete,
            (Framing::Length(told), None) => told >= self.next,
            // A complete chunked response proves its own end, whatever was assumed before.
            (Framing::Chunked, complete) => complete.is_none() || self.assumed,
            _ => false,
        };
        if !same_length {
            return Err(Mismatch::Length);
        }
        if self.end.is_some() && self.end != self.complete {
            // Only a range of the file was wanted; what follows in a 200 is not.
            return Err(Mismatch::Range);
        }
        let length = match framing {
            Framing::Length(told) => Some(told),
            _ => None,
        };
        (self.next, self.end, self.complete, self.assumed) = (0, length, length, false);
        Ok(Continued::Body)
    }

    /// Checks a 206.
    fn check_part(
        &mut self,
        ask: Ask,
        headers: &HeaderMap,
        framing: Framing,
    ) -> Result<Continued, Mismatch> {
        self.check_version(headers)?;
        let range = single(headers, header::CONTENT_RANGE)
            .and_then(ContentRange::parse)
            .ok_or(Mismatch::Range)?;
        let length = range.last - range.first + 1;
        let fits = range.first == self.next
            && self.end.is_none_or(|end| range.last + 1 == end)
            && (self.end.is_some() || range.complete == Some(range.last + 1))
            && !matches!(framing, Framing::Length(told) if told != length)
            && framing != Framing::None;
        if !fits {
            return Err(Mismatch::Range);
        }
        let must_tell = ask == Ask::Beside || matches!(self.validator, Validator::Date(_));
        let same_length = range.complete == self.complete
            || self.complete.is_none()
            || range.complete.is_none() && !must_tell;
        if !same_length {
            return Err(Mismatch::Length);
        }
        self.assumed |= self.end.is_none();
        self.end = Some(range.last + 1);
        self.complete = self.complete.or(range.complete);
        Ok(Continued::Body)
    }

    fn check_version(&self, headers: &HeaderMap) -> Result<(), Mismatch> {
        if !self.validator.names(headers) {
            return Err(Mismatch::Validator);
        }
        if is_coded(headers) {
            return Err(Mismatch::Coded);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name.parse().unwrap(), value.parse().unwrap());
        }
        map
    }

    fn of_ten() -> Continuation {
        Continuation::of(
            StatusCode::OK,
            &headers(&[("etag", "\"a\"")]),
            Framing::Length(10),
        )
        .unwrap()
    }

    fn answer(etag: &str, range: &str) -> HeaderMap {
        headers(&[("etag", etag), ("content-range", range)])
    }

    const PARTIAL: StatusCode = StatusCode::PARTIAL_CONTENT;

    #[test]
    fn only_a_strong_validator_lets_a_body_go_on() {
        for fields in [
            &[("etag", "W/\"a\"")][..],
            &[("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")],
            &[],
        ] {
            assert_eq!(
                Continuation::of(StatusCode::OK, &headers(fields), Framing::Length(10)),
                None
            );
        }
    }

    #[test]
    fn a_coded_body_does_not_go_on() {
        let coded = headers(&[("etag", "\"a\""), ("content-encoding", "gzip")]);
        assert_eq!(
            Continuation::of(StatusCode::OK, &coded, Framing::Length(10)),
            None
        );
    }

    #[test]
    fn the_rest_is_asked_for_from_the_next_byte() {
        let mut body = of_ten();
        body.advance(4);
        assert_eq!(body.range(), "bytes=4-");
        let mut part = Continuation::of(
            PARTIAL,
            &answer("\"a\"", "bytes 2-5/10"),
            Framing::Length(4),
        )
        .unwrap();
        part.advance(1);
        assert_eq!(part.range(), "bytes=3-5");
    }

    #[test]
    fn the_right_rest_is_taken() {
        let mut body = of_ten();
        body.advance(4);
        let rest = answer("\"a\"", "bytes 4-9/10");
        assert_eq!(
            body.check(Ask::Rest, PARTIAL, &rest, Framing::Length(6)),
            Ok(Continued::Body)
        );
    }

    #[test]
    fn every_lie_about_the_rest_is_seen() {
        for (etag, range, length, why) in [
            ("\"b\"", "bytes 4-9/10", 6, Mismatch::Validator),
            ("W/\"a\"", "bytes 4-9/10", 6, Mismatch::Validator),
            ("\"a\"", "bytes 3-9/10", 7, Mismatch::Range),
            ("\"a\"", "bytes 4-8/10", 5, Mismatch::Range),
            ("\"a\"", "bytes 4-9/11", 6, Mismatch::Length),
            ("\"a\"", "bytes 4-9/10", 7, Mismatch::Range),
            ("\"a\"", "bytes 9-4/10", 6, Mismatch::Range),
            ("\"a\"", "lines 4-9/10", 6, Mismatch::Range),
        ] {
            let mut body = of_ten();
            body.advance(4);
            let answered = body.check(
                Ask::Rest,
                PARTIAL,
                &answer(etag, range),
                Framing::Length(length),
            );
            assert_eq!(answered, Err(why), "{etag} {range} {length}");
        }
        let mut body = of_ten();
        assert_eq!(
            body.check(
                Ask::Part,
                StatusCode::OK,
                &answer("\"a\"", "x"),
                Framing::Length(10)
            ),
            Err(Mismatch::Status(200))
        );
    }

    /// A body without a declared length, of which ten bytes came.
    fn open() -> Continuation {
        let tagged = headers(&[("etag", "\"a\"")]);
        let mut body = Continuation::of(StatusCode::OK, &tagged, Framing::Chunked).unwrap();
        body.advance(10);
        body
    }

    const UNSATISFIED: StatusCode = StatusCode::RANGE_NOT_SATISFIABLE;

    #[test]
    fn neither_a_part_nor_a_416_proves_the_end_of_a_body_without_length() {
        let mut body = open();
        let nothing = headers(&[("content-range", "bytes */10")]);
        let more = headers(&[("content-range", "bytes */11")]);
        assert!(
            open()
                .check(Ask::Rest, UNSATISFIED, &more, Framing::Length(0))
                .is_err()
        );
        let checked = body.check(Ask::Rest, UNSATISFIED, &nothing, Framing::Length(0));
        assert_eq!(checked, Ok(Continued::Nothing));
        assert!(body.is_assumed() && body.is_whole() && !body.is_told());

        let mut body = open();
        let rest = answer("\"a\"", "bytes 10-19/20");
        let checked = body.check(Ask::Rest, PARTIAL, &rest, Framing::Length(10));
        assert_eq!(checked, Ok(Continued::Body));
        assert!(body.is_assumed() && !body.is_told());
        // A length once learned must not change.
        body.advance(5);
        let grown = answer("\"a\"", "bytes 15-29/30");
        assert!(
            body.check(Ask::Rest, PARTIAL, &grown, Framing::Length(15))
                .is_err()
        );
    }

    #[test]
    fn only_a_whole_response_proves_it() {
        let tag = headers(&[("etag", "\"a\"")]);
        for (framing, end) in [
            (Framing::Chunked, None),
            (Framing::Length(10), Some(10)),
            (Framing::Length(12), Some(12)),
        ] {
            let mut body = open();
            let checked = body.check(Ask::Whole, StatusCode::OK, &tag, framing);
            assert_eq!(checked, Ok(Continued::Body));
            assert_eq!((body.next(), body.end()), (0, end));
            assert!(!body.is_assumed());
        }
        for framing in [Framing::Length(9), Framing::UntilClose] {
            let checked = open().check(Ask::Whole, StatusCode::OK, &tag, framing);
            assert_eq!(checked, Err(Mismatch::Length), "{framing:?}");
        }
        let checked = open().check(Ask::Whole, PARTIAL, &tag, Framing::Length(10));
        assert_eq!(checked, Err(Mismatch::Status(206)));
    }

    #[test]
    fn a_200_goes_on_only_with_the_same_version_and_the_same_length() {
        let mut body = of_ten();
        body.advance(4);
        let tag = headers(&[("etag", "\"a\"")]);
        let other = headers(&[("etag", "\"b\"")]);
        for (fields, framing, why) in [
            (&tag, Framing::Length(11), Mismatch::Length),
            (&tag, Framing::Chunked, Mismatch::Length),
            (&tag, Framing::UntilClose, Mismatch::Length),
            (&other, Framing::Length(10), Mismatch::Validator),
        ] {
            let checked = body.check(Ask::Rest, StatusCode::OK, fields, framing);
            assert_eq!(checked, Err(why), "{framing:?}");
        }
        let mut first_half = body.part(4, 5);
        assert!(
            first_half
                .check(Ask::Rest, StatusCode::OK, &tag, Framing::Length(10))
                .is_err()
        );
        let checked = body.check(Ask::Rest, StatusCode::OK, &tag, Framing::Length(10));
        assert_eq!((checked, body.next()), (Ok(Continued::Body), 0));
    }

    #[test]
    fn beside_a_response_that_lives_only_a_part_of_the_told_length_counts() {
        let mut body = of_ten();
        body.advance(4);
        let tag = headers(&[("etag", "\"a\"")]);
        let untold = answer("\"a\"", "bytes 4-9/*");
        let mut check = |status, fields: &HeaderMap, length| {
            body.check(Ask::Beside, status, fields, Framing::Length(length))
        };
        assert!(check(StatusCode::OK, &tag, 10).is_err());
        assert_eq!(check(PARTIAL, &untold, 6), Err(Mismatch::Length));
        let told = answer("\"a\"", "bytes 4-9/10");
        assert_eq!(check(PARTIAL, &told, 6), Ok(Continued::Body));
    }

    #[test]
    fn a_date_goes_on_only_with_the_same_date_and_length() {
        let modified = ("last-modified", "Mon, 01 Jan 2024 00:00:10 GMT");
        let dated = headers(&[modified, ("date", "Mon, 01 Jan 2024 00:00:11 GMT")]);
        assert_eq!(
            Continuation::of(StatusCode::OK, &dated, Framing::Chunked),
            None,
            "there is no length to compare"
        );
        let mut body = Continuation::of(StatusCode::OK, &dated, Framing::Length(10)).unwrap();
        assert!(!body.may_be_divided());
        body.advance(4);
        let range = |told| ("content-range", told);
        let right = headers(&[modified, range("bytes 4-9/10")]);
        for (fields, why) in [
            (vec![range("bytes 4-9/10")], Mismatch::Validator),
            (vec![modified, range("bytes 4-9/*")], Mismatch::Length),
            (vec![modified, range("bytes 4-9/11")], Mismatch::Length),
            (
                vec![modified, range("bytes 4-9/10"), ("etag", "\"b\"")],
                Mismatch::Validator,
            ),
        ] {
            let checked = body.check(Ask::Rest, PARTIAL, &headers(&fields), Framing::Length(6));
            assert_eq!(checked, Err(why), "{fields:?}");
        }
        let checked = body.check(Ask::Rest, PARTIAL, &right, Framing::Length(6));
        assert_eq!(checked, Ok(Continued::Body));
    }

    #[test]
    fn a_range_at_the_end_of_all_numbers_is_none() {
        let mut body = open();
        let range = format!("bytes 10-{}/*", u64::MAX);
        let checked = body.check(
            Ask::Rest,
            PARTIAL,
            &answer("\"a\"", &range),
            Framing::Chunked,
        );
        assert_eq!(checked, Err(Mismatch::Range));
    }
}
