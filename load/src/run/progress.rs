//! Progress of a run for people.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

/// One line on the terminal that is written over; in a file, a line every ten seconds.
pub struct Progress<'a> {
    label: &'a str,
    begin: Instant,
    shown: Instant,
    terminal: bool,
}

impl<'a> Progress<'a> {
    /// Progress of the run with this name.
    pub fn new(label: &'a str) -> Self {
        Self {
            label,
            begin: Instant::now(),
            shown: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Shows how far it is: requests completed and bytes that came.
    pub fn show(&mut self, completed: u64, bytes: u64) {
        let text = format!(
            "{} {:3.0} s: {completed} completed, {:.1} MB",
            self.label,
            self.begin.elapsed().as_secs_f64(),
            bytes as f64 / 1e6
        );
        if self.terminal {
            eprint!("\r\x1b[K{text}");
        } else if self.shown.elapsed() > Duration::from_secs(10) {
            self.shown = Instant::now();
            eprintln!("{text}");
        }
    }

    /// Clears the line.
    pub fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
