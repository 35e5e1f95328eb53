//! /stats/stream: /stats as it changes, once a second.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use fileproxy::traffic::sample::Outcome;
use serde_json::Value;

use crate::support::{DEADLINE, client::Client, origin::Origin, proxy::Proxy, until, until_within};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfilm";

/// A stream that is followed as a browser does.
struct Events {
    lines: BufReader<TcpStream>,
    head: String,
}

impl Events {
    fn of(proxy: &Proxy) -> Self {
        Self::on(TcpStream::connect(proxy.address()).unwrap())
    }

    fn on(mut socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
            .write_all(b"GET /stats/stream HTTP/1.1\r\nhost: proxy\r\n\r\n")
            .unwrap();
        let mut lines = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let head = head.to_lowercase();
        Self { lines, head }
    }

    /// The next event of this name; none at the stream's end.
    fn next(&mut self, name: &str) -> Option<Value> {
        let begin = format!("event: {name}\n");
        let mut line = String::new();
        while line != begin {
            line.clear();
            // the last chunk, or the end of the connection
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 || line == "0\r\n" {
                return None;
            }
        }
        line.clear();
        self.lines.read_line(&mut line).unwrap();
        let data = line.strip_prefix("data: ").unwrap();
        Some(serde_json::from_str(data).unwrap())
    }
}

/// RFC 7396, section 2, to the letter.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = serde_json::json!({});
    }
    for (name, value) in members {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// Without the members that are null: a patch cannot tell them from those that are gone.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        other => other.clone(),
    }
}

#[test]
fn a_stream_begins_with_the_whole_and_goes_on_with_what_changes() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let mut events = Events::of(&proxy);
    assert!(events.head.starts_with("http/1.1 200"), "{}", events.head);
    assert!(
        events.head.contains("content-type: text/event-stream"),
        "{}",
        events.head
    );
    let history = events.next("history").unwrap();
    let columns = history["columns"].as_array().unwrap().clone();
    let mut stats = events.next("stats").unwrap();
    assert_eq!(stats["window"]["total_requests"], 0);

    for _ in 0..3 {
        assert_eq!(proxy.get("/film").status, 200);
    }
    proxy.until_outcomes(Outcome::Completed, 3);
    proxy.set_level("low");
    let mut ticks = 0;
    let mut rates = 0.0;
    while stats["window"]["total_requests"] != 3
        || stats["performance_optimizer"]["optimization_level"] != "low"
        || rates == 0.0
    {
        let row = events.next("row").unwrap();
        assert_eq!(row.as_array().unwrap().len(), columns.len());
        let at = |name: &str| columns.iter().position(|column| column == name).unwrap();
        rates += row[at("requests_per_second")].as_f64().unwrap();
        let change = events.next("change").unwrap();
        merge(&mut stats, &change);
        // what did not change is not told again
        assert!(change["outcomes"]["refused"].is_null(), "{change}");
        ticks += 1;
        assert!(ticks < 15, "{stats:#}");
    }
    assert_eq!(stats["retunes"][0]["to"], "low");
    // the whole of a later listener is what the patches made of the first one's
    let mut later = Events::of(&proxy);
    let whole = later.next("stats").unwrap();
    for name in ["total", "outcomes", "transfers", "origin_pool", "retunes"] {
        assert_eq!(
            without_nulls(&whole[name]),
            without_nulls(&stats[name]),
            "{name}"
        );
    }
}

#[test]
fn a_new_listener_sees_what_was_before_it_came() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let rows = |events: &mut Events| {
        let history = events.next("history").unwrap();
        history["rows"].as_array().unwrap().len()
    };
    let first = rows(&mut Events::of(&proxy));
    until("the history grows while nobody listens", || {
        std::thread::sleep(Duration::from_millis(300));
        (rows(&mut Events::of(&proxy)) >= first + 2).then_some(())
    });
}

#[test]
fn the_oldest_row_goes_when_there_are_as_many_as_are_kept() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |s| s.monitor.history = Duration::from_secs(10));
    let rows = || {
        std::thread::sleep(Duration::from_millis(300));
        let history = Events::of(&proxy).next("history").unwrap();
        assert_eq!(history["kept"], 10);
        history["rows"].as_array().unwrap().clone()
    };
    let full = || Some(rows()).filter(|rows| rows.len() >= 10);
    let full = until_within(Duration::from_secs(60), "the history is full", full);
    let moved = || Some(rows()).filter(|rows| rows.last() != full.last());
    let moved = until_within(Duration::from_secs(60), "a row came", moved);
    assert_eq!(moved.len(), 10);
    assert!(!moved.contains(&full[0]));
}

#[test]
fn one_stream_too_many_is_refused_until_another_ends() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |s| s.monitor.streams = 1);
    let mut first = Events::of(&proxy);
    first.next("stats").unwrap();
    let refused = proxy.get("/stats/stream");
    assert_eq!(refused.status, 503);
    assert!(refused.field("retry-after").is_some());
    let detail = refused.problem()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("monitor.streams"), "{detail}");
    drop(first);
    until("the place is free again", || {
        Events::of(&proxy).next("stats").map(|_| ())
    });
}

#[test]
fn one_address_that_has_all_places_gives_one_up_for_another_address() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |s| s.monitor.streams = 3);
    let mut strangers: Vec<_> = (0..3).map(|_| Events::of(&proxy)).collect();
    for stranger in &mut strangers {
        stranger.next("stats").unwrap();
    }
    let own = Ipv4Addr::new(127, 0, 0, 2).into();
    let mut operator = Events::on(Client::from(own, proxy.address()).socket);
    operator.next("stats").unwrap();
    assert!(operator.next("change").is_some());
    let mut last = strangers.pop().unwrap();
    while last.next("change").is_some() {}
    // the others go on, and there is no place for one more of them
    assert!(strangers.iter_mut().all(|s| s.next("change").is_some()));
    assert_eq!(proxy.get("/stats/stream").status, 503);
    assert!(operator.next("change").is_some());
}

#[test]
fn a_stream_outlives_the_time_for_idle_connections_and_ends_when_the_process_drains() {
    let origin = Origin::saying(ANSWER);
    let mut proxy = Proxy::before(&origin, |s| {
        s.server.keep_alive = Duration::from_millis(300);
        s.server.head_timeout = Duration::from_millis(300);
    });
    let mut events = Events::of(&proxy);
    for _ in 0..3 {
        events.next("change").unwrap();
    }
    assert_eq!(proxy.stats()["workers"]["requests_in_flight"], 0);
    proxy.drain();
    while events.next("change").is_some() {}
    let took = proxy.until_ended();
    assert!(took < Duration::from_secs(15), "it waited: {took:?}");
}

#[test]
fn head_of_the_stream_has_no_body() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("HEAD /stats/stream HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut client.socket, &mut answer).unwrap();
    let answer = answer.to_lowercase();
    assert!(
        answer.contains("content-type: text/event-stream"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}
