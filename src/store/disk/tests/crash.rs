//! `kill -9` at random times while objects are written, replaced and purged: everything served afterwards must be right.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, SystemTime},
};

use super::bench::*;
use crate::store::{body::BLOCK, disk::What};

const CHILD: &str = "FILEPROXY_TEST_CRASH";
const ROUNDS: &str = "FILEPROXY_TEST_CRASHES";
const TARGETS: u64 = 60;

fn options() -> Options {
    Options {
        memory: 12 << 20,
        disk: 30 << 20,
        ..Options::default()
    }
}

/// Body length of a version.
fn length(version: u64) -> u64 {
    match version % 7 {
        0 => version % 300,
        1..5 => version * 977 % (3 * BLOCK),
        5 => BLOCK * (version % 4),
        _ => 1_000_000 + version * 977 % 2_000_000,
    }
}

/// Writes until it is killed. Prints each durable purge: the target, and the previous version.
async fn child(path: &Path) {
    let bench = Bench::open(path, &options());
    let began = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
    let mut out = std::io::stdout();
    writeln!(out, "\nopen {}", bench.figures().objects).unwrap();
    for n in 0.. {
        let target = format!("/{}", fastrand::u64(..TARGETS));
        // Version numbers increase over all rounds.
        let version = began + n;
        if n % 11 == 10 {
            let is_it = |object: &crate::store::object::Object| object.key == key(&target);
            bench.shelf.purge(false, SystemTime::now(), is_it);
            let disk = bench.shelf.disk().unwrap();
            let what = What::Url(key(&target));
            if disk.purge(what, false, SystemTime::now()).await.is_ok() {
                writeln!(out, "purged {target} {version}").unwrap();
            }
        } else if n % 5 == 4 {
            if let Some(object) = bench.find(&target).await {
                bench.read(&object).await;
            }
        } else {
            let strong = !version.is_multiple_of(3);
            let told = (!version.is_multiple_of(4)).then_some(length(version));
            let head = head(version, strong, &[]);
            bench.put_head(&target, head, version, told, length(version));
        }
    }
}

#[tokio::test]
async fn after_a_kill_at_any_moment_every_byte_that_is_served_is_right() {
    if let Some(path) = std::env::var_os(CHILD) {
        return child(Path::new(&path)).await;
    }
    let rounds = std::env::var(ROUNDS).map_or(30, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut purged: HashMap<String, u64> = HashMap::new();
    let (mut served, mut parts) = (0, 0);
    for round in 0..rounds {
        let own = std::env::current_exe().unwrap();
        let name = "store::disk::tests::crash::after_a_kill_at_any_moment_every_byte_that_is_served_is_right";
        let mut child = Command::new(own)
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (opened, is_open) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut purges = Vec::new();
            for line in out.lines().map_while(Result::ok) {
                let words: Vec<_> = line.split(' ').collect();
                match *words {
                    ["open", _] => _ = opened.send(()),
                    // The last line may be incomplete: then the purge was not confirmed.
                    ["purged", target, version] if version.len() == 16 => {
                        purges.push((target.to_owned(), version.parse().unwrap()));
                    }
                    _ => {}
                }
            }
            purges
        });
        let died = is_open.recv_timeout(Duration::from_secs(60));
        std::thread::sleep(Duration::from_micros(fastrand::u64(..300_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        died.expect("it did not open the store");
        purged.extend(reader.join().unwrap());

        let bench = Bench::open(folder.path(), &options());
        for n in 0..TARGETS {
            let target = format!("/{n}");
            let Some(object) = bench.find(&target).await else {
                continue;
            };
            let version = version(&object);
            let before = purged.get(&target).copied().unwrap_or_default();
            assert!(version > before, "{target} came back in round {round}");
            // Checks each byte, and the length.
            match bench.read(&object).await {
                Body::Whole(len) => assert_eq!(len, length(version), "{target}"),
                Body::Part(_) => {
                    let figures = bench.figures();
                    let resumes = object.version.is_some();
                    assert!(resumes, "{target} can never be whole: {figures:?}");
                    parts += 1;
                }
            }
            served += 1;
        }
        let figures = bench.figures();
        assert!(bench.size() <= options().disk, "{}", bench.size());
        assert_eq!(figures.read_errors, 0, "{figures:?}");
        bench.close();
    }
    eprintln!(
        "{served} served, {parts} of them in part, {} purges",
        purged.len()
    );
    assert!(served > rounds);
}
