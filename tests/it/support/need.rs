//! What a test needs of the machine that it runs on.

use std::io::Write as _;

/// Whether a test can do its work here. In continuous integration (`CI` is set) what is missing fails it: a test that
/// passes without doing anything proves nothing. Elsewhere it says on standard error, whoever captures its output, that it
/// was left out. `TESTS_WITHOUT=ipv6,bbr` leaves out by name what a machine cannot have.
///
/// # Panics
///
/// In continuous integration, with what is missing and how to get it.
pub fn need(name: &str, what: &str, is_there: bool) -> bool {
    let without = std::env::var("TESTS_WITHOUT").unwrap_or_default();
    let left_out = without.split(',').any(|word| word.trim() == name);
    if is_there && !left_out {
        return true;
    }
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    assert!(
        left_out || std::env::var_os("CI").is_none(),
        "{test} needs {name}: {what}; TESTS_WITHOUT={name} leaves it out"
    );
    // Not by a macro: the harness takes what those write.
    _ = writeln!(std::io::stderr(), "left out: {test} needs {name}: {what}");
    false
}
