//! The program itself as a process, with a settings folder of its own and its log as JSON.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{DEADLINE, client::Client, until, until_within};

/// A running program. Dropped, it is killed.
pub struct Program {
    child: Child,
    folder: TempDir,
    log: Arc<Mutex<Vec<Value>>>,
    /// What it said up to that it serves.
    start: Vec<Value>,
    address: SocketAddr,
}

impl Program {
    pub const TOKEN: &str = "the-admin-token";

    /// Before the origin at this URL, with this text as its settings file.
    pub fn before(origin: &str, settings: &str) -> Self {
        Self::with(origin, settings, |program| Command::new(program))
    }

    /// The same, with this `admin.local`.
    pub fn local(origin: &str, local: &str) -> Self {
        Self::with(
            origin,
            &format!("[admin]\nlocal = \"{local}\"\n"),
            |program| Command::new(program),
        )
    }

    /// The same, by a command that takes the program's path.
    pub fn with(origin: &str, settings: &str, command: impl FnOnce(&str) -> Command) -> Self {
        Self::patiently(DEADLINE, origin, settings, command)
    }

    /// The same, for a program that takes up to `patience` to serve.
    pub fn patiently(
        patience: Duration,
        origin: &str,
        settings: &str,
        command: impl FnOnce(&str) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The usual port of admin.local is for one process.
        std::fs::write(folder.path().join("base.toml"), "[admin]\nlocal = \"\"\n").unwrap();
        std::fs::write(folder.path().join("local.toml"), settings).unwrap();
        let mut child = command(env!("CARGO_BIN_EXE_fileproxy"))
            .env("FILEPROXY_SETTINGS", folder.path())
            .env("FILEPROXY__SERVER__LISTEN", "127.0.0.1:0")
            .env("FILEPROXY__ORIGIN__URL", origin)
            .env("FILEPROXY__ADMIN__TOKEN", Self::TOKEN)
            .env("FILEPROXY__LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let to = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                to.lock().unwrap().push(line);
            }
        });
        let mut program = Program {
            child,
            folder,
            log,
            start: Vec::new(),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        program.start = program.told_within(patience, "serving");
        program.address = program.serving()["listen"]
            .as_str()
            .unwrap()
            .split(',')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        program
    }

    /// The line that says that it serves.
    pub fn serving(&self) -> &Value {
        self.start.last().unwrap()
    }

    /// What it said up to that.
    pub fn start(&self) -> &[Value] {
        &self.start
    }

    /// The warnings of its start.
    pub fn warned(&self) -> Vec<&Value> {
        self.start
            .iter()
            .filter(|line| line["level"] == "WARN")
            .collect()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Replaces its settings file.
    pub fn write(&self, settings: &str) {
        std::fs::write(self.folder.path().join("local.toml"), settings).unwrap();
    }

    /// Puts a folder where its settings file was: it cannot be read, by root neither.
    pub fn hide(&self) {
        let file = self.folder.path().join("local.toml");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(file).unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// How many lines it logged.
    pub fn logged(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Waits for a line with this message, and takes it and those before it out.
    pub fn until_logged(&self, message: &str) -> Value {
        self.until_told(message).pop().unwrap()
    }

    /// The same, with those before it.
    pub fn until_told(&self, message: &str) -> Vec<Value> {
        self.told_within(DEADLINE, message)
    }

    fn told_within(&self, limit: Duration, message: &str) -> Vec<Value> {
        until_within(limit, message, || {
            let mut log = self.log.lock().unwrap();
            let at = log.iter().position(|line| line["message"] == message)?;
            Some(log.drain(..=at).collect())
        })
    }

    /// Waits for the next line, and takes it out.
    pub fn next_line(&self) -> Value {
        until("a line", || {
            let mut log = self.log.lock().unwrap();
            (!log.is_empty()).then(|| log.remove(0))
        })
    }

    /// Waits until it has ended; its exit code.
    pub fn until_ended(&mut self) -> Option<i32> {
        until("the program ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
