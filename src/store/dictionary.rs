//! Parser for dictionaries of structured fields (RFC 8941 §3.2, §4.2.2), as far as cache directives need it: keys, and integer,
//! boolean and string values.

/// A member's value. Parameters are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// `name`, `name=?1` or `name=?0`
    Boolean(bool),
    /// `name=60`
    Integer(i64),
    /// `name="..."`
    String,
    /// A decimal, a token, bytes or an inner list.
    Other,
}

/// Parses a dictionary; of repeated keys the last one counts. None if the field is invalid.
pub fn parse(field: &[u8]) -> Option<Vec<(String, Value)>> {
    let mut rest = Reader(field);
    let mut members: Vec<(String, Value)> = Vec::new();
    rest.skip(b" ");
    while !rest.0.is_empty() {
        let key = rest.key()?;
        let value = if rest.eat(b'=') {
            rest.member()?
        } else {
            Value::Boolean(true)
        };
        rest.parameters()?;
        members.retain(|(other, _)| *other != key);
        members.push((key, value));
        rest.skip(b" \t");
        if rest.0.is_empty() {
            return Some(members);
        }
        if !rest.eat(b',') {
            return None;
        }
        rest.skip(b" \t");
        // A trailing comma is an error.
        if rest.0.is_empty() {
            return None;
        }
    }
    Some(members)
}

/// The input that is left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip(&mut self, any: &[u8]) {
        self.run(|byte| any.contains(&byte));
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| !belongs(byte));
        let (run, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        run
    }

    fn key(&mut self) -> Option<String> {
        let first = *self.0.first()?;
        if !first.is_ascii_lowercase() && first != b'*' {
            return None;
        }
        let key = self.run(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        });
        Some(String::from_utf8_lossy(key).into_owned())
    }

    /// Parses an item or an inner list.
    fn member(&mut self) -> Option<Value> {
        if !self.eat(b'(') {
            return self.item();
        }
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                return Some(Value::Other);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.0.first()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn item(&mut self) -> Option<Value> {
        match *self.0.first()? {
            b'?' => {
                self.eat(b'?');
                let value = self.eat(b'1');
                (value || self.eat(b'0')).then_some(Value::Boolean(value))
            }
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b':' => {
                self.eat(b':');
                self.run(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.eat(b':').then_some(Value::Other)
            }
            first if first.is_ascii_alphabetic() || first == b'*' => {
                self.run(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Value::Other)
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Value> {
        self.eat(b'"');
        loop {
            self.run(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\');
            if self.eat(b'"') {
                return Some(Value::String);
            }
            if !self.eat(b'\\') || !(self.eat(b'"') || self.eat(b'\\')) {
                return None;
            }
        }
    }

    /// Parses an integer of at most 15 digits, or a decimal with at most 12 digits before and 3 after the point.
    fn number(&mut self) -> Option<Value> {
        let negative = self.eat(b'-');
        let digits = self.run(|byte| byte.is_ascii_digit());
        if digits.is_empty() {
            return None;
        }
        if self.eat(b'.') {
            let fraction = self.run(|byte| byte.is_ascii_digit()).len();
            return (digits.len() <= 12 && (1..=3).contains(&fraction)).then_some(Value::Other);
        }
        if digits.len() > 15 {
            return None;
        }
        let value = digits
            .iter()
            .fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Value::Integer(if negative { -value } else { value }))
    }

    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip(b" ");
            self.key()?;
            if self.eat(b'=') {
                self.item()?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: &str) -> Option<Vec<(String, Value)>> {
        parse(field.as_bytes())
    }

    #[test]
    fn a_dictionary_has_keys_with_values_of_several_kinds() {
        let members = read(
            "a=1, b, c=?0;x;y=2,\t*d=\"x, \\\"y\", e=1.5, f=tok/en, g=:YQ==:, h=(1 \"a\";q), i=-7",
        )
        .unwrap();
        let values: Vec<_> = members.iter().map(|(_, value)| *value).collect();
        use Value::{Boolean, Integer, Other, String};
        assert_eq!(
            values,
            [
                Integer(1),
                Boolean(true),
                Boolean(false),
                String,
                Other,
                Other,
                Other,
                Other,
                Integer(-7)
            ]
        );
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        assert_eq!(
            read("a=1, a=2"),
            Some(vec![("a".to_owned(), Value::Integer(2))])
        );
    }

    #[test]
    fn what_is_no_dictionary_is_none() {
        for field in [
            "A=1",
            "a=",
            "a=1 b",
            "a=1,",
            ",a",
            "a=1,,b",
            "a=\"",
            "a=\"\\x\"",
            "a=?2",
            "a=--1",
            "a=1.",
            "a=1.2345",
            "a=1234567890123456",
            "a=(1",
            "a=(1,2)",
            "a;",
            "a=\u{e9}",
            "1a",
            "a=:x",
        ] {
            assert_eq!(read(field), None, "{field}");
        }
        assert_eq!(read("  "), Some(Vec::new()));
    }
}
