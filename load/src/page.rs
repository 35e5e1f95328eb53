//! A page of many small files over a bad link, by HTTP/1.1 and by HTTP/2, as a browser would fetch it: curl with six
//! connections, or one. TLS both times, handshakes included, every body checked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use fileproxy_testbed::random::mix;

use crate::{
    catalog::File,
    failure::Failure,
    lab::Lab,
    namespace::sweep,
    network::{Layout, Network, ORIGIN_LISTEN, PROXY, PROXY_LISTEN},
    peer::{Peer, Place},
    process::Running,
    scenario::Scenario,
    spread::Spread,
    sys,
    units::ByteSize,
};

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the scenario.
    pub scenario: String,
    /// Files of the page.
    pub files: usize,
    /// Length of each.
    pub size: ByteSize,
    /// Pages by each protocol.
    pub repeat: u32,
    /// Congestion control of all routes.
    pub congestion: String,
    /// Seeds network and contents.
    pub seed: u64,
}

/// How a page is fetched.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    option: &'static str,
    /// Transfers at once: connections, or streams of one.
    at_once: usize,
}

const WAYS: [Way; 2] = [
    Way {
        name: "HTTP/1.1, 6 connections",
        option: "--http1.1",
        at_once: 6,
    },
    Way {
        name: "HTTP/2, 1 connection",
        option: "--http2",
        at_once: 100,
    },
];

/// Fetches the page by both protocols in turn, and prints how long it took.
///
/// # Errors
///
/// No root, a missing program, or a wrong body.
pub fn page(lab: &Lab, options: &Options) -> Result<()> {
    if !sys::is_root() {
        bail!(Failure::NotRoot("load page"));
    }
    _ = sweep();
    let scenario = Scenario::read(&lab.folder.join("scenarios"), &options.scenario)?;
    let peer = Peer::read(&lab.peers(), "fileproxy-high")?;
    let dir = lab.out.join(format!("page-{}", std::process::id()));
    let place = Place {
        listen: PROXY_LISTEN,
        origin: ORIGIN_LISTEN,
        workers: 2,
        dir: dir.clone(),
        out: lab.out.clone(),
        fileproxy: lab.fileproxy()?,
        unlimited: true,
        loopback: false,
    };
    let rounds: Result<Vec<_>> = (0..options.repeat)
        .map(|round| perform(&scenario, &peer, &place, options, round))
        .collect();
    _ = fs::remove_dir_all(&dir);
    let rounds = rounds?;
    println!(
        "{} files of {} over {}: milliseconds, median (least to most) of {} pages",
        options.files, options.size, options.scenario, options.repeat
    );
    println!("\n| | whole page |\n|---|---|");
    for (n, way) in WAYS.iter().enumerate() {
        let spread = Spread::of(rounds.iter().map(|r| r[n].as_secs_f64() * 1e3));
        let text = spread.map_or_else(String::new, |s| s.text(0));
        println!("| {} | {text} |", way.name);
    }
    Ok(())
}

/// One page each way, over a fresh network.
fn perform(
    scenario: &Scenario,
    peer: &Peer,
    place: &Place,
    options: &Options,
    round: u32,
) -> Result<[Duration; 2]> {
    let seed = mix(options.seed ^ (u64::from(round) << 32));
    _ = fs::remove_dir_all(&place.dir);
    fs::create_dir_all(&place.dir)?;
    let network = Network::build(&Layout {
        client_link: Some(scenario.link.clone()),
        origin_link: None,
        lines: None,
        congestion: options.congestion.clone(),
        seed,
    })?;
    let program = std::env::current_exe()?;
    let mut origin = network.origin.command(&program.to_string_lossy());
    origin.args(["origin", "--listen", &ORIGIN_LISTEN.to_string()]);
    origin.args(["--seed", &seed.to_string()]);
    let _origin = Running::start(origin, &place.dir.join("origin.log"))?;

    let (certificate, key) = certificate(&place.dir)?;
    let (words, env) = peer.prepare(place)?;
    let (program, rest) = words.split_first().context("no command")?;
    let mut proxy = network.proxy.command(program);
    proxy.args(rest).envs(env).current_dir(&place.dir);
    proxy.env("FILEPROXY__TLS__CERTIFICATE", &certificate);
    proxy.env("FILEPROXY__TLS__KEY", key);
    let proxy = Running::start(proxy, &place.dir.join("log"))?;

    let fetch = |way: Way, files: &[File]| -> Result<Duration> {
        let mut curl = network.client.command("curl");
        curl.args(["--silent", "--show-error", "--fail", way.option])
            .args(["--parallel", "--parallel-max", &way.at_once.to_string()])
            .arg("--cacert")
            .arg(&certificate)
            .stdin(Stdio::null());
        for (n, file) in files.iter().enumerate() {
            curl.arg("--output")
                .arg(place.dir.join(format!("{n}.body")));
            curl.arg(format!("https://{PROXY_LISTEN}{}", file.path));
        }
        let begin = Instant::now();
        let output = curl.output().context("curl")?;
        let took = begin.elapsed();
        if !output.status.success() {
            bail!(Failure::Judged(format!(
                "curl failed by {}: {}; the proxy's last words: {}",
                way.name,
                String::from_utf8_lossy(&output.stderr).trim(),
                proxy.last_words()
            )));
        }
        for (n, file) in files.iter().enumerate() {
            let body = fs::read(place.dir.join(format!("{n}.body")))?;
            if body.len() as u64 != file.length || !file.content(seed).is(0, &body) {
                bail!(Failure::Judged(format!("a wrong body by {}", way.name)));
            }
        }
        Ok(took)
    };
    let files = |name: &str| -> Vec<File> {
        (0..options.files)
            .map(|n| File::new(options.size.bytes(), &format!("{name}-{n}")))
            .collect()
    };
    let begin = Instant::now();
    while let Err(error) = fetch(WAYS[0], &[File::new(1, "ready")]) {
        if begin.elapsed() > Duration::from_secs(40) {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    // Each way is first in every other round.
    let mut took = [Duration::ZERO; 2];
    for n in 0..2 {
        let n = (n + round as usize) % 2;
        took[n] = fetch(WAYS[n], &files(WAYS[n].option))?;
        eprintln!(
            "page {} by {}: {:.0} ms",
            round + 1,
            WAYS[n].name,
            took[n].as_secs_f64() * 1e3
        );
    }
    Ok(took)
}

/// A certificate for the proxy's address, and its key.
fn certificate(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=page"])
        .args(["-addext", &format!("subjectAltName=IP:{PROXY}")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .map_err(|_| Failure::Missing {
            what: "openssl".to_owned(),
        })?;
    if !output.status.success() {
        bail!("openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((certificate, key))
}
