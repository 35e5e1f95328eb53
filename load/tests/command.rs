//! The command as people and scripts use it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

#[path = "../../tests/it/support/need.rs"]
mod need;

use fileproxy_load::{report, sys};
use need::need;

fn load(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command
        .args(["--lab", env!("CARGO_MANIFEST_DIR")])
        .args(args);
    command
}

fn output(args: &[&str]) -> Output {
    load(args)
        .output()
        .unwrap_or_else(|error| panic!("{error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether runs are possible here; says why not.
fn can_run() -> bool {
    let nginx = || Command::new("nginx").arg("-v").output().is_ok();
    need("root", "namespaces and TUN devices", sys::is_root())
        && need(
            "nginx",
            "something to compare with (apt-get install nginx-light)",
            nginx(),
        )
}

fn has_bbr() -> bool {
    let known = fileproxy_load::congestion::known();
    need(
        "bbr",
        "that congestion control (modprobe tcp_bbr)",
        known.contains(&"bbr".to_owned()),
    )
}

fn namespaces_of(pid: u32) -> usize {
    let Ok(folder) = fs::read_dir("/run/netns") else {
        return 0;
    };
    let prefix = format!("fplab-{pid}-");
    folder
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
        .count()
}

/// A run that takes a minute, once its three hosts are there.
fn long_run(out: &Path) -> Child {
    let out = out.display().to_string();
    let run = load(&[
        "--out",
        &out,
        "run",
        "poor",
        "--peers",
        "nginx",
        "--clients",
        "5",
    ])
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap_or_else(|error| panic!("{error}"));
    let begin = Instant::now();
    while namespaces_of(run.id()) < 3 {
        assert!(begin.elapsed() < Duration::from_secs(20), "no namespaces");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(1500));
    run
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("load-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{error}"));
    folder
}

#[test]
fn list_names_every_scenario_and_contestant() {
    let list = text(&output(&["list"]).stdout);
    for name in [
        "normal",
        "poor",
        "very_poor",
        "nginx",
        "nginx-cache",
        "haproxy",
        "fileproxy-high",
        "aiohttp-original",
    ] {
        assert!(list.contains(name), "{name} is not in:\n{list}");
    }
}

#[test]
fn asking_for_what_does_not_exist_exits_with_2_and_says_what_does() {
    let out = output(&["run", "dreadful"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        text(&out.stderr).contains("very_poor"),
        "{}",
        text(&out.stderr)
    );
    let out = output(&["run", "poor", "--where", "origin", "--per-client"]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(
        output(&["run", "poor", "--size", "5"]).status.code(),
        Some(2)
    );
}

/// The files with the records of a folder, and what stands in them.
fn records(folder: &Path) -> (Vec<std::path::PathBuf>, Vec<fileproxy_load::record::Record>) {
    let files: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{error}"))
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    let (runs, _) = report::read(&files).unwrap_or_else(|error| panic!("{error:#}"));
    (files, runs)
}

#[test]
fn at_level_high_a_client_on_a_poor_line_gets_bbr_and_at_level_low_what_the_system_has() {
    if !can_run() || !has_bbr() {
        return;
    }
    let folder = folder("follow");
    let out = folder.display().to_string();
    let run = output(&[
        "--out",
        &out,
        "run",
        "poor",
        "--where",
        "client",
        "--workload",
        "download",
        "--size",
        "2MB",
        "--peers",
        "fileproxy-low,fileproxy-high",
        "--short",
    ]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let (_, runs) = records(&folder);
    for (peer, congestion) in [("fileproxy-low", "cubic"), ("fileproxy-high", "bbr")] {
        let run = runs.iter().find(|run| run.peer == peer);
        let run = run.unwrap_or_else(|| panic!("no record of {peer}"));
        assert_eq!(run.clients.wrong, 0);
        let seen = &run.congestion_seen.proxy;
        assert!(seen.contains_key(congestion), "{peer}: {seen:?}");
    }
    _ = fs::remove_dir_all(folder);
}

#[test]
fn a_short_run_completes_with_right_bodies_under_cubic_and_can_be_reported() {
    if !can_run() {
        return;
    }
    let folder = folder("short");
    let out = folder.display().to_string();
    let run = output(&[
        "--out",
        &out,
        "run",
        "poor",
        "--where",
        "both",
        "--workload",
        "mix",
        "--peers",
        "nginx",
        "--short",
        "--lasting",
        "4 s",
    ]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let (records, runs) = records(&folder);
    let [run] = runs.as_slice() else {
        panic!("{} records", runs.len())
    };
    assert!(run.clients.completed > 0 && run.clients.wrong == 0);
    for seen in [
        &run.congestion_seen.client,
        &run.congestion_seen.proxy,
        &run.congestion_seen.origin,
    ] {
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["cubic"]);
    }
    let loss = run.client_link.map(|l| l.down.lost);
    assert!(
        loss.is_some_and(|lost| lost > 0),
        "nothing was lost: {loss:?}"
    );
    let files: Vec<String> = records.iter().map(|p| p.display().to_string()).collect();
    let made = output(&["--out", &out, "report", "--of", "nginx", &files[0]]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let page = fs::read_to_string(folder.join("report.html")).unwrap_or_default();
    assert!(page.contains("<svg"));
    _ = fs::remove_dir_all(folder);
}

#[test]
fn an_interrupted_run_removes_what_it_made_and_exits_with_130() {
    if !can_run() {
        return;
    }
    let folder = folder("interrupted");
    let mut run = long_run(&folder);
    let pid = run.id();
    sys::signal(i32::try_from(pid).unwrap_or(i32::MAX), libc::SIGTERM);
    let status = run.wait().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(status.code(), Some(130));
    assert_eq!(namespaces_of(pid), 0);
    _ = fs::remove_dir_all(folder);
}

#[test]
fn what_a_killed_run_leaves_the_next_one_removes() {
    if !can_run() {
        return;
    }
    let folder = folder("killed");
    let mut run = long_run(&folder);
    let pid = run.id();
    _ = run.kill();
    _ = run.wait();
    assert_eq!(namespaces_of(pid), 3);
    _ = fileproxy_load::namespace::sweep();
    assert_eq!(namespaces_of(pid), 0);
    _ = fs::remove_dir_all(folder);
}
