//! Formats an event's fields for people: `key=value`, quoted only if the value is more than a word.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

/// Formats fields the same way, however they were recorded.
pub struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Visitor {
            writer,
            first: true,
            written: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.written
    }
}

struct Visitor<'w> {
    writer: Writer<'w>,
    first: bool,
    written: fmt::Result,
}

impl Visitor<'_> {
    fn put(&mut self, field: &Field, value: &str) {
        if self.written.is_err() {
            return;
        }
        let space = if self.first { "" } else { " " };
        self.first = false;
        self.written = match field.name() {
            "message" => write!(self.writer, "{space}").and_then(|()| self.message(value)),
            name if is_word(value) => write!(self.writer, "{space}{name}={value}"),
            name => write!(self.writer, "{space}{name}={value:?}"),
        };
    }

    /// Escapes control characters, so that a text cannot move a terminal's cursor or begin a line.
    fn message(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() {
                write!(self.writer, "{}", c.escape_default())?;
            } else {
                self.writer.write_char(c)?;
            }
        }
        Ok(())
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Fields that events of the `log` crate have besides their message.
        if !field.name().starts_with("log.") {
            self.put(field, &format!("{value:?}"));
        }
    }
}

/// Whether a value needs no quotes.
fn is_word(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '=';
    !value.is_empty() && value.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_value_is_quoted_by_what_it_is_and_not_by_how_it_was_recorded() {
        let screen = Screen::default();
        let writer = screen.clone();
        let lines = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .fmt_fields(Fields)
            .finish();
        tracing::subscriber::with_default(lines, || {
            let (word, words) = ("good", "the token is wrong");
            tracing::info!(a = word, b = %word, c = words, d = %words, n = 3, f = 0.5, "said");
            tracing::info!(
                nothing = "",
                pair = "a=b",
                quote = "\"",
                line = "1\n2",
                "a\u{1b}[2J"
            );
        });
        let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            " INFO said a=good b=good c=\"the token is wrong\" d=\"the token is wrong\" n=3 f=0.5\n \
             INFO a\\u{1b}[2J nothing=\"\" pair=\"a=b\" quote=\"\\\"\" line=\"1\\n2\"\n"
        );
    }
}
