//! The examples of README.md and docs/running.md, typed as they stand, in order, into one shell in a folder as a fresh clone
//! leaves it. Blocks of `sh` are commands; a block without a language behind them shows what they print.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::support::{DEADLINE, need::need};

/// What a test does not do to the machine, or would not end with: a block that has one of these words is only read.
const NOT_HERE: [&str; 3] = ["docker", "systemctl", "tests/run.sh"];
/// The class of the demo's network has to hold for some windows before it is shown.
const SHOWN: Duration = Duration::from_secs(90);
/// What a command that runs on and shows nothing is given before it is ended, once it has said something.
const RUNS: Duration = Duration::from_secs(2);

/// One block of commands, and what is shown behind it.
#[derive(Debug)]
struct Example {
    commands: String,
    shown: Vec<String>,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut lines = page.lines();
    // Whether a block without language would show the last example's output.
    let mut shows = false;
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            shows &= line.is_empty();
            continue;
        };
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        match (language, examples.last_mut()) {
            ("sh", _) => examples.push(Example {
                commands: block.join("\n"),
                shown: Vec::new(),
            }),
            ("", Some(example)) if shows => {
                example.shown = block.iter().map(|line| normal(line)).collect();
            }
            _ => {}
        }
        shows = language == "sh";
    }
    examples
}

/// A line without what differs each time: numbers, and how wide they make a column.
fn normal(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if c != '0' || !text.ends_with('0') {
            text.push(c);
        }
    }
    let text = text.replace("0.0", "0");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A network of its own, so that the usual ports are free: it lasts as long as the process.
struct Network(Child);

impl Network {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "up\n");
        Network(child)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0.id()));
        command.arg(program);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A shell in a fresh clone, and what it prints.
struct Shell {
    folder: TempDir,
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
    network: Network,
}

impl Shell {
    fn new() -> Self {
        let folder = clone();
        let network = Network::new();
        let path = std::env::var("PATH").unwrap();
        let bin = folder.path().join(".bin");
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = network
            .command("bash")
            .current_dir(folder.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("PIDS", folder.path().join(".pids"))
            .env_remove("FILEPROXY_SETTINGS")
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        let (to, output) = channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        Shell {
            folder,
            child,
            input,
            output,
            network,
        }
    }

    /// Types the commands, and waits until they have ended, or, where the last one runs on, until it has shown what it is
    /// to show; then it is interrupted, as a reader does.
    fn run(&mut self, example: &Example) {
        const END: &str = "the example has ended:";
        let commands = &example.commands;
        writeln!(self.input, "{commands}\nprintf '\n{END} %s\n' $?").unwrap();
        let began = Instant::now();
        let mut last = began;
        let mut said = Vec::new();
        let mut shown: VecDeque<_> = example.shown.clone().into();
        let mut interrupted = false;
        let last_line = commands.lines().last().unwrap_or_default();
        let runs_on = !last_line.ends_with('&')
            && ["cargo run", "fileproxy"]
                .iter()
                .any(|word| last_line.contains(word))
            && !last_line.contains("curl");
        loop {
            match self.output.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    if let Some(status) = line.strip_prefix(END) {
                        assert_eq!(status.trim(), "0", "{commands}\n{}", said.join("\n"));
                        break;
                    }
                    last = Instant::now();
                    if shown.front() == Some(&normal(&line)) {
                        shown.pop_front();
                    }
                    said.push(line);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the shell ended: {commands}"),
            }
            let is_done = runs_on
                && match example.shown.is_empty() {
                    true => !said.is_empty() && last.elapsed() >= RUNS,
                    false => shown.is_empty(),
                };
            if is_done && !interrupted {
                interrupted = true;
                self.signal_last("INT");
            }
            let limit = if interrupted { SHOWN + DEADLINE } else { SHOWN };
            assert!(
                began.elapsed() < limit,
                "{commands}\ndoes not show {shown:?}, but\n{}",
                said.join("\n")
            );
        }
        assert!(
            shown.is_empty(),
            "{commands}\ndoes not show {shown:?}, but\n{}",
            said.join("\n")
        );
    }

    /// The processes of fileproxy that were started, in order.
    fn started(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(".pids")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A signal for the one that was started last: it runs in the foreground, where one does.
    fn signal_last(&self, signal: &str) {
        if let Some(pid) = self.started().last() {
            _ = Command::new("kill").args(["-s", signal, pid]).output();
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Only those of this network: a number may have been given away again.
        let here = fs::read_link(format!("/proc/{}/ns/net", self.network.0.id()));
        for pid in self.started() {
            let there = fs::read_link(format!("/proc/{pid}/ns/net"));
            if here
                .as_ref()
                .is_ok_and(|here| there.is_ok_and(|there| there == *here))
            {
                _ = Command::new("kill").args(["-s", "KILL", &pid]).output();
            }
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What examples find in a fresh clone: no settings but the ones that come with it. Cargo builds nothing there: what it would
/// build is the program of this test.
fn clone() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Cargo.toml", "docs", "src", "docker-compose.yml"] {
        symlink(root().join(name), folder.path().join(name)).unwrap();
    }
    let settings = folder.path().join("settings");
    fs::create_dir(&settings).unwrap();
    for entry in fs::read_dir(root().join("settings")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name != "local.toml" {
            symlink(&path, settings.join(name)).unwrap();
        }
    }
    // Notes who it is, so that it can be ended.
    let program = format!(
        "#!/bin/sh\necho $$ >> \"$PIDS\"\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_fileproxy")
    );
    let built = folder.path().join(".bin/built");
    script(&built, &program);
    script(
        &folder.path().join(".bin/cargo"),
        "#!/bin/sh\nset -e\nmkdir -p target/release\ncp .bin/built target/release/fileproxy\n\
         case \"$1 $2\" in\n\
         'build --release') ;;\n\
         'run --release') shift 3; exec target/release/fileproxy \"$@\" ;;\n\
         *) echo \"cargo $*: not in an example\" >&2; exit 1 ;;\n\
         esac\n",
    );
    // A reader takes some moments to type, and sees an answer that is an error.
    script(
        &folder.path().join(".bin/curl"),
        "#!/bin/sh\nPATH=${PATH#*:} exec curl --fail-with-body --retry 100 --retry-delay 1 --retry-connrefused \
         --retry-max-time 20 \"$@\"\n",
    );
    folder
}

fn script(path: &PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the examples of a page; how many there were.
fn run_page(page: &str) {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let examples = examples(&text);
    let (left_out, run): (Vec<_>, Vec<_>) = examples
        .iter()
        .partition(|example| NOT_HERE.iter().any(|word| example.commands.contains(word)));
    assert!(run.len() >= 2, "{page} has hardly an example: {examples:?}");
    for example in left_out {
        let syntax = Command::new("bash")
            .args(["-n", "-c", &example.commands])
            .status();
        assert!(syntax.unwrap().success(), "{}", example.commands);
    }
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !need(
        "root",
        "a network namespace where the usual ports are free",
        is_root,
    ) {
        return;
    }
    let mut shell = Shell::new();
    for example in run {
        shell.run(example);
    }
}

#[test]
fn the_examples_of_the_readme_work_as_typed() {
    run_page("README.md");
}

#[test]
fn the_examples_of_running_work_as_typed() {
    run_page("docs/running.md");
}
