//! What settings hold: sizes, durations, rates, addresses, and a whole file of them. What is taken is written back as the
//! same; what is not, is an error that names its key.

use std::{fs, time::Duration};

use fileproxy::{
    path::addresses::Addresses,
    settings::{Settings, layers::SettingsFiles},
    units::{self, Rate},
};

pub const TARGET: crate::Target = crate::Target {
    name: "units",
    words: WORDS,
    check,
};

const WORDS: &[&str] = &[
    "1",
    "0",
    "-",
    ".",
    "e",
    "KiB",
    "MiB",
    "GiB",
    "TiB",
    "EiB",
    "kB",
    "B",
    "s",
    "ms",
    "us",
    "ns",
    "m",
    "h",
    "day",
    "month",
    "year",
    "18446744073709551615",
    "inf",
    "nan",
    "127.0.0.1:0",
    "[::1]:80",
    ",",
    " ",
    "\n",
    "\"",
    "=",
    "[server]\n",
    "[origin]\n",
    "url = ",
    "timeout = ",
    "true",
    "[]",
    "#",
    "\u{e9}",
];

fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for word in text.split(['\n', '"']) {
        check_word(word);
    }
    check_file(text);
}

fn check_word(word: &str) {
    if let Ok(size) = units::size(word) {
        let written = units::readable_size(size);
        assert_eq!(
            units::size(&written),
            Ok(size),
            "{word} is written as {written}"
        );
        assert!(
            word.trim_end().ends_with(|c: char| !c.is_ascii_digit()),
            "{word} has no unit"
        );
    }
    if let Ok(duration) = humantime::parse_duration(word) {
        // Durations of settings go through JSON and the log, and come back.
        let written = units::readable(duration);
        assert_eq!(
            humantime::parse_duration(&written),
            Ok(duration),
            "{word} is written as {written}"
        );
    }
    if let Some(rate) = word.parse().ok().and_then(|number| Rate::new(number).ok()) {
        assert!((Rate::LOWEST..=Rate::HIGHEST).contains(&rate));
        let (interval, per_second) = (rate.interval(), rate.per_second());
        assert!(interval > Duration::ZERO && interval.as_secs_f64() * per_second >= 1.0 - 1e-9);
        for factor in [0.0, 0.8, 1.2, f64::MAX] {
            let scaled = rate.scaled(factor, Rate::LOWEST, Rate::HIGHEST);
            assert!((Rate::LOWEST..=Rate::HIGHEST).contains(&scaled));
        }
    }
    if let Ok(addresses) = word.parse::<Addresses>() {
        assert!(addresses.iter().next().is_some());
        assert_eq!(addresses.to_string().parse(), Ok(addresses));
    }
}

/// The text as a settings file: what is in force is within its bounds, or it is told what is wrong.
fn check_file(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("local.toml"), text).unwrap();
    let place = SettingsFiles {
        folder: Some(folder.path().to_owned()),
        name: None,
    };
    match Settings::read(&place) {
        Ok(settings) => assert!(settings.check().is_ok()),
        Err(error) => assert!(!error.to_string().trim().is_empty()),
    }
}
