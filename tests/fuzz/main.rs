//! Fuzz targets: what reads bytes that a stranger sent, against bytes that nobody thought of.
//!
//! `cargo test --test fuzz` runs every target over its corpus and over some thousand inputs that are made from it: always
//! the same ones, so that a machine that fails can be followed by another. `FUZZ_ITERATIONS=1000000` makes more of them,
//! `FUZZ_SEED=7` others. `tests/fuzz/led.sh frames -max_total_time=600` leads the target `frames` by coverage, with libFuzzer
//! on the stable toolchain.
//!
//! A corpus is the folder of the target's name under `corpus/`: a file for each kind of input. What broke a target once goes
//! there, too.

#![cfg_attr(fuzzing, no_main)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says by its name what it proves, and by a panic that it is not so"
)]

#[cfg(not(fuzzing))]
mod edits;
mod frames;
mod ranges;
mod requests;
mod responses;
mod units;

/// One of them: its name, what every input must hold, and words that mean something to it.
struct Target {
    #[cfg_attr(fuzzing, allow(dead_code, reason = "libFuzzer makes the inputs"))]
    name: &'static str,
    #[cfg_attr(fuzzing, allow(dead_code, reason = "libFuzzer finds them by itself"))]
    words: &'static [&'static str],
    check: fn(&[u8]),
}

#[cfg(not(fuzzing))]
mod tests {
    use std::{fs, path::Path, str::FromStr};

    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    use super::{Target, edits, frames, ranges, requests, responses, units};

    /// How many inputs are made for a target, unless `FUZZ_ITERATIONS` says another number.
    const ITERATIONS: u32 = 3000;

    fn run(target: &Target) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz/corpus")
            .join(target.name);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        let mut seeds = Vec::new();
        for file in files {
            println!("{}", file.display());
            let seed = fs::read(&file).unwrap();
            (target.check)(&seed);
            seeds.push(seed);
        }
        let config = Config {
            cases: from_environment("FUZZ_ITERATIONS").unwrap_or(ITERATIONS),
            failure_persistence: None,
            ..Config::default()
        };
        let mut seed = [0; 32];
        let number: u64 = from_environment("FUZZ_SEED").unwrap_or(0);
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let outcome = TestRunner::new_with_rng(config, rng).run(
            &edits::inputs(seeds, target.words),
            |edits::Input(bytes)| {
                (target.check)(&bytes);
                Ok(())
            },
        );
        if let Err(error) = outcome {
            panic!("{error}");
        }
    }

    fn from_environment<T: FromStr>(name: &str) -> Option<T> {
        let text = std::env::var(name).ok()?;
        let number = text.parse().ok();
        Some(number.unwrap_or_else(|| panic!("{name} is no number: {text}")))
    }

    #[test]
    fn http2_frames_are_counted_as_they_are_however_they_are_cut() {
        run(&frames::TARGET);
    }

    #[test]
    fn a_body_is_gone_on_with_only_from_the_very_byte_of_the_very_version() {
        run(&ranges::TARGET);
    }

    #[test]
    fn what_goes_on_of_a_clients_requests_does_not_depend_on_how_they_come() {
        run(&requests::TARGET);
    }

    #[test]
    fn a_response_is_read_the_same_however_it_is_cut_and_never_looks_whole_before_it_is() {
        run(&responses::TARGET);
    }

    #[test]
    fn a_setting_that_is_taken_is_written_back_as_the_same() {
        run(&units::TARGET);
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static LED: std::sync::OnceLock<&Target> = std::sync::OnceLock::new();
    let led = LED.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let targets = [
            &frames::TARGET,
            &ranges::TARGET,
            &requests::TARGET,
            &responses::TARGET,
            &units::TARGET,
        ];
        let named = targets.into_iter().find(|target| target.name == name);
        named.unwrap_or_else(|| panic!("FUZZ_TARGET: there is no target `{name}`"))
    });
    (led.check)(bytes);
});

/// The same bytes in pieces, cut in so many ways: as one, each byte alone, and at places that follow from the bytes.
fn cuts(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let sum = bytes.iter().fold(bytes.len() as u64, |sum, &byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut random = fastrand::Rng::with_seed(sum);
    let mut ways = vec![vec![bytes], bytes.chunks(1).collect()];
    for most in [3, 20, 200] {
        let (mut rest, mut pieces) = (bytes, Vec::new());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(random.usize(1..=most).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        ways.push(pieces);
    }
    ways
}
