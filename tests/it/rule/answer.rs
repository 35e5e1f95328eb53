//! An answer as a client sees it, however it ended.

use std::io::{ErrorKind, Read};

use fileproxy_testbed::framing::Framing;

use crate::support::message;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing tells it from a whole one.
    Whole,
    /// Visibly not whole.
    Broken,
    /// Nothing came for too long.
    Hung,
}

#[derive(Clone)]
pub struct Answer {
    /// 0 where not even a head came.
    pub status: u16,
    /// Names in small letters, in order.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub end: End,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = &self.body[..self.body.len().min(60)];
        write!(
            f,
            "{} {:?}, {} bytes {:?}..., {:?}",
            self.status,
            self.end,
            self.body.len(),
            String::from_utf8_lossy(text),
            self.fields
        )
    }
}

impl Answer {
    /// None at all.
    pub fn none(end: End) -> Self {
        Answer {
            status: 0,
            fields: Vec::new(),
            body: Vec::new(),
            end,
        }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let mut all = self.fields.iter().filter(|(field, _)| field == name);
        all.next().map(|(_, value)| value.as_str())
    }

    /// Whether it is one that the proxy made itself.
    pub fn is_problem(&self) -> bool {
        self.field("content-type") == Some("application/problem+json")
    }
}

/// Reads answers off one connection.
pub struct Answers<R> {
    from: R,
    buffer: Vec<u8>,
    /// Called before each read.
    before: fn(),
    most: usize,
}

impl<R: Read> Answers<R> {
    pub fn of(from: R) -> Self {
        Answers {
            from,
            buffer: Vec::new(),
            before: || {},
            most: 64 * 1024,
        }
    }

    /// Reads at most so much at a time, after a pause.
    pub fn slowly(mut self, most: usize, pause: fn()) -> Self {
        (self.most, self.before) = (most, pause);
        self
    }

    fn more(&mut self) -> Result<(), End> {
        (self.before)();
        let mut piece = vec![0; self.most];
        match self.from.read(&mut piece) {
            // What the close means depends on the framing.
            Ok(0) => Err(End::Whole),
            Ok(n) => {
                self.buffer.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(End::Hung)
            }
            Err(_) => Err(End::Broken),
        }
    }

    /// The next final head.
    fn head(&mut self) -> Result<Vec<u8>, End> {
        loop {
            if let Some(end) = message::head_end(&self.buffer) {
                let head: Vec<u8> = self.buffer.drain(..end).collect();
                if (100..200).contains(&message::status(&head)) {
                    continue;
                }
                return Ok(head);
            }
            self.more().map_err(|end| match end {
                End::Hung => End::Hung,
                _ => End::Broken,
            })?;
        }
    }

    /// The next answer; of its body no more than `enough` bytes.
    pub fn next(&mut self, to_head: bool, enough: usize) -> Answer {
        let head = match self.head() {
            Ok(head) => head,
            Err(end) => return Answer::none(end),
        };
        let text = String::from_utf8_lossy(&head);
        let fields: Vec<_> = text
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let status = message::status(&head);
        // As it would be written properly.
        let proper: String = fields
            .iter()
            .map(|(name, value)| format!("\r\n{name}: {value}"))
            .collect();
        let mut answer = Answer {
            status,
            fields,
            body: Vec::new(),
            end: End::Whole,
        };
        if to_head || status == 204 || status == 304 {
            return answer;
        }
        let mut framing = message::framing(proper.as_bytes());
        while !message::take(&mut framing, &mut self.buffer, &mut answer.body) {
            if answer.body.len() >= enough {
                answer.end = End::Broken;
                return answer;
            }
            if let Err(end) = self.more() {
                let by_close = framing == Framing::Close;
                answer.end = match end {
                    End::Whole if !by_close => End::Broken,
                    end => end,
                };
                // What comes with the last read belongs to it.
                message::take(&mut framing, &mut self.buffer, &mut answer.body);
                return answer;
            }
        }
        answer
    }

    pub fn into_inner(self) -> R {
        self.from
    }
}
