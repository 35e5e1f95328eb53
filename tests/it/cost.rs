//! What a request costs the proxy in instructions, beside what it cost before: `tests/cost.toml` has the figures.
//!
//! valgrind counts the instructions that the program itself executes (the kernel's are not among them), whatever else the
//! machine does. The program is the one that the tests build, so the figures are higher than those of a release and say
//! only whether a request became dearer. `UPDATE_COST=1 cargo test --test it cost` writes them anew.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, time::Duration};

use serde::{Deserialize, Serialize};

use crate::support::{
    client::Client,
    need::need,
    origin::{Origin, ok, response},
    program::Program,
    proxy::Upstream as _,
    until,
};

/// How much dearer a request may become before the test fails.
const GROWTH: f64 = 1.05;
/// Requests of one count.
const REQUESTS: u64 = 200;
/// Counts of each kind: the lowest has the least of what the program does beside (its ticks, for one).
const COUNTS: usize = 3;
/// The program starts some fifty times slower under valgrind.
const START: Duration = Duration::from_secs(120);

const SETTINGS: &str = r#"
[server]
workers = 1
[admin]
local = ""
[levels.high]
store = false
[log]
access = false
[metrics]
tick = "10s"
[rate_limit]
min = 1000000
max = 1000000
[quality]
probe = "0s"
"#;

/// The figures in the file.
#[derive(Debug, Deserialize, Serialize)]
struct Figures {
    /// Another compiler makes other instructions of the same code.
    toolchain: String,
    /// Instructions for each request, by kind.
    instructions: BTreeMap<String, u64>,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cost.toml")
}

fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let ran = Command::new(command).args(arguments).output().ok()?;
    ran.status
        .success()
        .then(|| String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}

/// The program under valgrind.
struct Counted {
    program: Program,
    folder: tempfile::TempDir,
    dumps: usize,
}

impl Counted {
    fn before(origin: &Origin) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = format!("--callgrind-out-file={}/out", folder.path().display());
        let program = Program::patiently(START, &origin.url(), SETTINGS, |program| {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--quiet", "--tool=callgrind", &out, program]);
            valgrind
        });
        Counted {
            program,
            folder,
            dumps: 0,
        }
    }

    fn control(&self, option: &str) {
        let id = self.program.id().to_string();
        assert!(output("callgrind_control", &[option, &id]).is_some());
    }

    /// Instructions for each of these requests.
    fn count(&mut self, ask: &mut impl FnMut()) -> u64 {
        self.control("--zero");
        for _ in 0..REQUESTS {
            ask();
        }
        self.control("--dump");
        self.dumps += 1;
        let dump = self.folder.path().join(format!("out.{}", self.dumps));
        let total = until("the dump", || {
            let text = fs::read_to_string(&dump).ok()?;
            let total = text
                .lines()
                .find_map(|line| line.strip_prefix("totals: "))?;
            total.parse::<u64>().ok()
        });
        total / REQUESTS
    }

    /// The same, with as little beside as may be.
    fn least(&mut self, mut ask: impl FnMut()) -> u64 {
        (0..COUNTS).map(|_| self.count(&mut ask)).min().unwrap()
    }
}

fn asked(client: &mut Client, request: &str, status: u16) {
    client.patient().send(request);
    let answer = match request.starts_with("HEAD") {
        true => client.response_to_head(),
        false => client.response(),
    };
    assert_eq!(answer.status, status, "{answer:?}");
}

#[test]
fn no_request_costs_more_instructions_than_before() {
    let there = output("valgrind", &["--version"]).is_some()
        && output("callgrind_control", &["--version"]).is_some();
    if !need(
        "valgrind",
        "the Debian package valgrind counts instructions",
        there,
    ) {
        return;
    }
    let toolchain = output("rustc", &["--version"]).unwrap();
    let known: Figures = toml::from_str(&fs::read_to_string(file()).unwrap()).unwrap();
    let updates = std::env::var_os("UPDATE_COST").is_some();
    if !updates && known.toolchain != toolchain {
        // Not a failure in continuous integration either: the figures wait for whoever changes the compiler.
        eprintln!(
            "the figures are of {}, this is {toolchain}",
            known.toolchain
        );
        return;
    }

    let body = vec![7; 1024];
    let validators = "etag: \"one\"\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
    let origin = Origin::answering(move |request| {
        if request.method() == "HEAD" {
            return format!("HTTP/1.1 200 OK\r\n{validators}content-length: 1024\r\n\r\n")
                .into_bytes();
        }
        if request.field("if-none-match").is_some() {
            return format!("HTTP/1.1 304 Not Modified\r\n{validators}\r\n").into_bytes();
        }
        match request.field("range") {
            Some(_) => response(
                "206 Partial Content",
                &format!("{validators}content-range: bytes 0-511/1024\r\n"),
                &body[..512],
            ),
            None => ok(&body),
        }
    });
    let mut counted = Counted::before(&origin);
    let mut client = counted.program.client();
    let mut figures = BTreeMap::new();
    for (kind, request, status) in [
        ("get", "GET /file HTTP/1.1\r\nhost: proxy\r\n\r\n", 200),
        (
            "range",
            "GET /file HTTP/1.1\r\nhost: proxy\r\nrange: bytes=0-511\r\n\r\n",
            206,
        ),
        ("head", "HEAD /file HTTP/1.1\r\nhost: proxy\r\n\r\n", 200),
        (
            "not_modified",
            "GET /file HTTP/1.1\r\nhost: proxy\r\nif-none-match: \"one\"\r\n\r\n",
            304,
        ),
    ] {
        // The first ones open connections and fill pools.
        for _ in 0..20 {
            asked(&mut client, request, status);
        }
        let cost = counted.least(|| asked(&mut client, request, status));
        figures.insert(kind.to_owned(), cost);
    }

    if updates {
        let text = format!(
            "# Instructions that one request costs, in the build that the tests use: see tests/it/cost.rs.\n{}",
            toml::to_string(&Figures {
                toolchain,
                instructions: figures
            })
            .unwrap()
        );
        return fs::write(file(), text).unwrap();
    }
    for (kind, cost) in &figures {
        let before = known.instructions[kind];
        assert!(
            (*cost as f64) < before as f64 * GROWTH,
            "{kind}: {cost} instructions, {before} before; all of them: {figures:?}. Where that is meant: \
             UPDATE_COST=1 cargo test --workspace --test it cost"
        );
    }
}
