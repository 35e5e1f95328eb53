//! The log and whoever reads it: no reader can hold up the service.

use std::{
    io::{PipeReader, Read as _},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    DEADLINE,
    client::Client,
    origin::{Origin, ok},
    until,
};

/// More lines than a pipe and both buffers of the log hold, if each carries this path.
const REQUESTS: usize = 400;

/// The program with this standard error, which no thread of the test reads.
fn logging_to(stderr: impl Into<Stdio>, origin: &Origin) -> (Child, SocketAddr) {
    logging_with(stderr, origin, &[])
}

/// The same with more settings, as variables of its environment.
pub(super) fn logging_with(
    stderr: impl Into<Stdio>,
    origin: &Origin,
    settings: &[(&str, &str)],
) -> (Child, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let child = Command::new("sh")
        .arg("-c")
        .arg("exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\"")
        .arg(env!("CARGO_BIN_EXE_fileproxy"))
        .env("LISTEN_FDS", "1")
        .env("FILEPROXY_SETTINGS", env!("CARGO_TARGET_TMPDIR"))
        .env(
            "FILEPROXY__ORIGIN__URL",
            format!("http://{}", origin.address()),
        )
        .env("FILEPROXY__ADMIN__LOCAL", "")
        .env("FILEPROXY__ADMIN__TOKEN", "t")
        .env("FILEPROXY__LOG__FORMAT", "json")
        .env("FILEPROXY__SERVER__DRAIN_NOTICE", "10ms")
        .envs(settings.iter().copied())
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stderr(stderr)
        .spawn()
        .unwrap();
    (child, address)
}

fn requests(client: &mut Client) {
    let path = format!("/{}", "x".repeat(8 * 1024));
    for _ in 0..REQUESTS {
        assert_eq!(client.get(&path).text(), "file");
    }
}

fn dropped(address: SocketAddr) -> u64 {
    let stats: serde_json::Value =
        serde_json::from_slice(&Client::to(address).get("/stats").body).unwrap();
    stats["log"]["lines_dropped"].as_u64().unwrap()
}

pub(super) fn ends(child: &mut Child) {
    assert!(
        Command::new("kill")
            .arg(child.id().to_string())
            .status()
            .unwrap()
            .success()
    );
    let began = Instant::now();
    let code = until("it ends", || child.try_wait().unwrap());
    assert_eq!(code.code(), Some(0));
    assert!(began.elapsed() < DEADLINE);
}

fn lines(mut reader: PipeReader) -> Vec<serde_json::Value> {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_log_reader_that_stands_still_costs_lines_that_are_counted_and_told() {
    let origin = Origin::answering(|_| ok("file"));
    let (reader, writer) = std::io::pipe().unwrap();
    let (mut child, address) = logging_to(writer, &origin);
    let mut client = Client::to(address);
    requests(&mut client);
    let lost = dropped(address);
    assert!(lost > 0);
    let metrics = Client::to(address).get("/metrics").text();
    assert!(
        metrics.contains(&format!("fileproxy_log_lines_dropped_total {lost}")),
        "{metrics}"
    );
    // It reads again, and the last lines of a normal end come too.
    let reader = std::thread::spawn(move || lines(reader));
    ends(&mut child);
    let lines = reader.join().unwrap();
    let told = lines.iter().find(|line| {
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("log lines were dropped")
    });
    assert!(told.unwrap()["lines"].as_u64().unwrap() >= lost);
    assert_eq!(lines.last().unwrap()["message"], "drained");
}

#[test]
fn a_log_reader_that_stands_still_holds_up_no_end() {
    let origin = Origin::answering(|_| ok("file"));
    let (_reader, writer) = std::io::pipe().unwrap();
    let (mut child, address) = logging_to(writer, &origin);
    requests(&mut Client::to(address));
    assert_eq!(Client::to(address).get("/health/live").status, 200);
    ends(&mut child);
}

#[test]
fn a_log_reader_that_left_or_a_full_disk_stops_nothing() {
    let origin = Origin::answering(|_| ok("file"));
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    for stderr in [Stdio::from(full), Stdio::from(closed)] {
        let (mut child, address) = logging_to(stderr, &origin);
        assert_eq!(Client::to(address).get("/film").text(), "file");
        until("the lines are counted", || {
            (dropped(address) > 0).then_some(())
        });
        ends(&mut child);
    }
}

#[test]
fn the_last_lines_are_written_before_the_process_ends() {
    let origin = Origin::answering(|_| ok("file"));
    let (reader, writer) = std::io::pipe().unwrap();
    let (mut child, address) = logging_to(writer, &origin);
    let reader = std::thread::spawn(move || lines(reader));
    requests(&mut Client::to(address));
    ends(&mut child);
    let lines = reader.join().unwrap();
    let requests = lines
        .iter()
        .filter(|line| line["target"] == "access")
        .count();
    let lost: u64 = lines.iter().filter_map(|line| line["lines"].as_u64()).sum();
    assert_eq!(requests as u64 + lost, REQUESTS as u64);
}

#[test]
fn why_it_does_not_start_is_said_though_nobody_reads() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let began = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_fileproxy"))
        .env("FILEPROXY_SETTINGS", env!("CARGO_TARGET_TMPDIR"))
        .env("FILEPROXY__SERVER__LISTEN", "nowhere")
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(began.elapsed() < Duration::from_secs(60));
}

/// A JSON object whose keys are all different; serde_json keeps the last of those that are not.
struct Distinct;

impl<'de> serde::Deserialize<'de> for Distinct {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> serde::de::Visitor<'de> for Keys {
            type Value = Distinct;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Distinct, A::Error> {
                let mut keys = std::collections::BTreeSet::new();
                while let Some((key, _)) = map.next_entry::<String, serde_json::Value>()? {
                    if !keys.insert(key.clone()) {
                        return Err(serde::de::Error::custom(format!("{key} is there twice")));
                    }
                }
                Ok(Distinct)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[test]
fn no_json_line_has_a_key_twice_and_access_lines_tell_of_the_client_only_where_a_setting_says_so() {
    let origin = Origin::answering(|_| ok("file"));
    for details in ["true", "false"] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let settings = [
            ("FILEPROXY__LOG__ACCESS_DETAILS", details),
            ("FILEPROXY__LOG__FILTER", "debug"),
            ("FILEPROXY_ORIGIN_URL", "http://elsewhere"),
        ];
        let (mut child, address) = logging_with(writer, &origin, &settings);
        let lines = "user-agent: player/1.0 (x)\r\nreferer: http://page/film?token=secret\r\n";
        assert_eq!(Client::to(address).get_with("/film", lines).text(), "file");
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        ends(&mut child);
        let text = reader.join().unwrap();
        for line in text.lines() {
            if let Err(error) = serde_json::from_str::<Distinct>(line) {
                panic!("{error}: {line}");
            }
        }
        assert!(!text.contains("secret"), "{text}");
        let line = |what: &str, key: &str| {
            let mut lines = text
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines
                .find(|line| line[key] == what)
                .unwrap_or_else(|| panic!("no {what}: {text}"))
        };
        let access = line("access", "target");
        if details == "true" {
            assert_eq!(access["protocol"], "HTTP/1.1");
            assert_eq!(access["user_agent"], "player/1.0 (x)");
            assert_eq!(access["referrer"], "http://page/film");
        } else {
            for key in ["protocol", "user_agent", "referrer"] {
                assert!(access.get(key).is_none(), "{access}");
            }
        }
        assert_eq!(line("serving", "message")["level"], "INFO");
        let read = line("settings read", "message");
        let variables = read["variables"].as_str().unwrap();
        assert!(variables.contains("FILEPROXY__LOG__FILTER"), "{read}");
        assert_eq!(line("FILEPROXY_ORIGIN_URL", "variable")["level"], "WARN");
    }
}
