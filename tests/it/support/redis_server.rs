//! A real redis-server on a port of its own, that can be killed, stopped and started again.

use std::{
    cell::Cell,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::eventually;

/// How the server is set up.
#[derive(Default)]
pub struct Options {
    pub password: Option<&'static str>,
    /// Certificate and key; the server then speaks TLS only.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// A cluster of one node that has all slots.
    pub cluster: bool,
}

pub struct RedisServer {
    port: u16,
    options: Options,
    directory: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let mut server = Self {
            port: free_port(),
            options,
            directory: tempfile::tempdir().unwrap(),
            child: None,
        };
        server.restart().await;
        server
    }

    /// `redis://...`, as for `redis.url`.
    pub fn url(&self) -> String {
        let scheme = match (self.options.cluster, self.options.tls.is_some()) {
            (false, false) => "redis",
            (false, true) => "rediss",
            (true, false) => "redis+cluster",
            (true, true) => "rediss+cluster",
        };
        let user = self
            .options
            .password
            .map(|p| format!(":{p}@"))
            .unwrap_or_default();
        let insecure = if self.options.tls.is_some() {
            "#insecure"
        } else {
            ""
        };
        format!("{scheme}://{user}127.0.0.1:{}{insecure}", self.port)
    }

    /// Kills the server; what it held is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server, empty, on the same port.
    pub async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.directory.path());
        match &self.options.tls {
            None => _ = command.args(["--port", &self.port.to_string()]),
            Some((certificate, key)) => {
                _ = command
                    .args(["--port", "0", "--tls-port", &self.port.to_string()])
                    .args(["--tls-auth-clients", "no"])
                    .arg("--tls-cert-file")
                    .arg(certificate)
                    .arg("--tls-key-file")
                    .arg(key)
                    .arg("--tls-ca-cert-file")
                    .arg(certificate);
            }
        }
        if let Some(password) = self.options.password {
            command.args(["--requirepass", password]);
        }
        if self.options.cluster {
            command.args([
                "--cluster-enabled",
                "yes",
                "--cluster-require-full-coverage",
                "no",
            ]);
        }
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server must be installed");
        self.child = Some(child);
        eventually("redis-server answers", || async {
            (self.cli(&["PING"]) == "PONG").then_some(())
        })
        .await;
        if self.options.cluster {
            self.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
            eventually("the cluster is ready", || async {
                self.cli(&["CLUSTER", "INFO"])
                    .contains("cluster_state:ok")
                    .then_some(())
            })
            .await;
        }
    }

    /// The server hangs: connections stay, nothing answers.
    pub fn stop_answering(&self) {
        self.signal("-STOP");
    }

    /// The server goes on.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Runs a command as an operator would, and gives the answer as text.
    pub fn cli(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "--no-auth-warning",
        ]);
        if let Some(password) = self.options.password {
            cli.args(["-a", password]);
        }
        if let Some((certificate, _)) = &self.options.tls {
            cli.args(["--tls", "--insecure"])
                .arg("--cacert")
                .arg::<&Path>(certificate);
        }
        let output = cli.args(command).stderr(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits until every instance that is there has written its heartbeat so many times more: the key's time to live only
    /// goes up then.
    pub async fn beats(&self, times: usize) {
        let keys = self.cli(&["KEYS", "fileproxy:instance:*"]);
        assert!(!keys.is_empty(), "no instance writes heartbeats");
        for key in keys.lines() {
            for _ in 0..times {
                let before = Cell::new(i64::MAX);
                eventually("another heartbeat", || async {
                    let left: i64 = self.cli(&["PTTL", key]).parse().unwrap();
                    (left > before.replace(left)).then_some(())
                })
                .await;
            }
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // a cluster's bus is on the port 10000 above
        if port < 55_000 {
            return port;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
