//! Wrong settings stop the start with the key, what it must be and what it is; right ones lie over each other.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::support::{client::Client, origin::Origin, proxy::Upstream as _};

/// A folder of settings files, and the program in it.
struct Program {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Program {
    fn new() -> Self {
        Program {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fileproxy"));
        command
            .args(arguments)
            .env_clear()
            .env("FILEPROXY_SETTINGS", self.folder.path())
            .envs(self.variables.iter().cloned())
            .current_dir(self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What is in force.
    fn checked(&self) -> toml::Table {
        let output = self.run(&["check"]);
        assert!(output.status.success(), "{}", error(&output));
        String::from_utf8(output.stdout).unwrap().parse().unwrap()
    }
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_setting_stops_the_start_and_says_the_key_what_it_must_be_and_what_it_is() {
    for (text, words) in [
        ("[server]\nlisten = \"nowhere\"", vec!["server.listen"]),
        ("[server]\nworkes = 2", vec!["server", "workes"]),
        ("[sever]\nworkers = 2", vec!["sever"]),
        (
            "[server]\nhead_timeout = \"15\"",
            vec!["server.head_timeout", "15"],
        ),
        (
            "[server]\nhead_timeout = 15",
            vec!["server.head_timeout", "15"],
        ),
        (
            "[server]\nhead_timeout = \"0s\"",
            vec!["server.head_timeout", "10ms", "0s"],
        ),
        ("[server]\nmax_head = \"64\"", vec!["server.max_head", "64"]),
        (
            "[server]\nmax_head = \"1GiB\"",
            vec!["server.max_head", "128", "1"],
        ),
        (
            "[server]\nmax_connections = 0",
            vec!["server.max_connections", "1 to 1000000", "0"],
        ),
        (
            "[server]\nmax_connections = -1",
            vec!["server.max_connections", "-1"],
        ),
        (
            "[server]\ntrusted_proxies = [\"me\"]",
            vec!["server.trusted_proxies", "me", "10.0.0.0/8"],
        ),
        (
            "[origin]\nurl = \"ftp://x\"",
            vec!["origin.url", "ftp", "http"],
        ),
        (
            "[origin]\nurl = \"files.example\"",
            vec!["origin.url", "files.example", "http://"],
        ),
        ("[origin]\nhost = \"a b\"", vec!["origin.host", "a b"]),
        (
            "[tcp]\nsend_buffer = \"1GiB\"",
            vec!["tcp.send_buffer", "auto", "1GiB"],
        ),
        (
            "[optimization]\nlevel = \"turbo\"",
            vec!["optimization.level", "turbo", "low", "medium", "high"],
        ),
        (
            "[levels.low]\nconnections = 0",
            vec!["levels.low.connections", "0"],
        ),
        (
            "[classes.good]\nchunk = \"8\"",
            vec!["classes.good.chunk", "8"],
        ),
        ("[rate_limit]\nmin = 0", vec!["rate_limit.min", "0"]),
        (
            "[rate_limit]\nmin = 50\nmax = 20",
            vec!["rate_limit", "50", "20"],
        ),
        (
            "[rate_limit]\ninitial = 5000",
            vec!["rate_limit.initial", "5000"],
        ),
        ("[redis]\nurl = \"http://x\"", vec!["redis.url"]),
        ("[log]\nfilter = \"=[\"", vec!["log.filter", "=["]),
        ("[log]\nformat = \"xml\"", vec!["log.format", "xml", "json"]),
    ] {
        let program = Program::new().file("local.toml", text);
        for command in ["check", "serve"] {
            let output = program.run(&[command]);
            let message = error(&output);
            assert_eq!(
                output.status.code(),
                Some(2),
                "{command} with {text}: {message}"
            );
            assert!(output.stdout.is_empty());
            for word in &words {
                assert!(
                    message.contains(word),
                    "no {word:?} about {text:?}: {message}"
                );
            }
            assert!(!message.contains("panicked"), "{message}");
        }
    }
}

#[test]
fn a_file_that_is_no_toml_is_named() {
    let program = Program::new().file("local.toml", "[server\n");
    let output = program.run(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("local.toml"), "{}", error(&output));
}

#[test]
fn a_settings_file_that_was_asked_for_must_be_there() {
    let output = Program::new().run(&["check", "--env", "production"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("production.toml"));
}

#[test]
fn a_folder_or_file_that_was_named_must_be_there_and_the_usual_ones_may_be_absent() {
    let program = Program::new();
    let gone = program.folder.path().join("gone");
    let gone = gone.to_str().unwrap();
    for (arguments, variables, words) in [
        (
            vec!["check", "--settings", gone],
            vec![],
            format!("there is no folder {gone}"),
        ),
        (
            vec!["serve"],
            vec![("FILEPROXY_SETTINGS", gone)],
            format!("there is no folder {gone}"),
        ),
        (
            vec!["check", "--env", "local"],
            vec![],
            "local.toml".to_owned(),
        ),
        (
            vec!["serve"],
            vec![("FILEPROXY_ENV", "local")],
            "local.toml".to_owned(),
        ),
    ] {
        let output = program
            .command(&arguments)
            .envs(variables)
            .output()
            .unwrap();
        let said = error(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(&words), "{arguments:?}: {said}");
    }
    let mut usual = program.command(&["check"]);
    let usual = usual.env_remove("FILEPROXY_SETTINGS").output().unwrap();
    assert!(usual.status.success(), "{}", error(&usual));
    let mut empty = program.command(&["check"]);
    let empty = empty.env("FILEPROXY_ENV", "").output().unwrap();
    assert!(empty.status.success(), "{}", error(&empty));
}

#[test]
fn what_is_wrong_is_told_with_the_file_or_the_variable_that_it_is_from() {
    let program = |text: &str| Program::new().file("local.toml", text);
    for (program, words) in [
        (
            program("[server]\nworkes = 2"),
            vec![
                "unknown setting server.workes in ",
                "/local.toml: did you mean server.workers?",
            ],
        ),
        (
            program("[server]\nhead_timeout = 15"),
            vec!["server.head_timeout: invalid value", "(in ", "/local.toml)"],
        ),
        (
            program("[rate_limit]\nmin = 50\nmax = 20"),
            vec!["rate_limit.min must be", "(in ", "/local.toml)"],
        ),
        (
            program("[server]\nworkers = 2").variable("FILEPROXY__SERVER__WORKERS", "many"),
            vec!["server.workers: ", "(by FILEPROXY__SERVER__WORKERS)"],
        ),
        (
            Program::new().variable("FILEPROXY__ORIGIN_URL", "http://h"),
            vec!["FILEPROXY__ORIGIN_URL: did you mean FILEPROXY__ORIGIN__URL?"],
        ),
    ] {
        let output = output_of(&program);
        assert_eq!(output.status.code(), Some(2));
        let said = error(&output);
        for word in words {
            assert!(said.contains(word), "no {word:?}: {said}");
        }
    }
}

#[test]
fn a_variable_with_one_underscore_is_warned_of_and_none_that_is_not_ours() {
    let program = Program::new()
        .variable("FILEPROXY_ORIGIN_URL", "http://elsewhere")
        .variable("FILEPROXY_PORT", "tcp://10.0.0.1:80")
        .variable("FILEPROXY_SERVICE_HOST", "10.0.0.1");
    let output = output_of(&program);
    assert!(output.status.success());
    let said = error(&output);
    let words = "FILEPROXY_ORIGIN_URL is not read: did you mean FILEPROXY__ORIGIN__URL?";
    assert!(said.contains(words), "{said}");
    assert!(!said.contains("_PORT") && !said.contains("_HOST"), "{said}");
}

#[test]
fn check_looks_at_certificates_ports_and_directories() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let program = |variables: &[(&str, &str)]| {
        let program = Program::new()
            .file("cert.pem", &certificate)
            .file("key.pem", &key)
            .variable("FILEPROXY__SERVER__LISTEN", "127.0.0.1:0")
            .variable("FILEPROXY__ADMIN__LOCAL", "");
        variables.iter().fold(program, |program, (name, value)| {
            program.variable(&format!("FILEPROXY__{name}"), value)
        })
    };
    for (variables, code, words) in [
        (
            vec![("TLS__CERTIFICATE", "cert.pem"), ("TLS__KEY", "key.pem")],
            0,
            "",
        ),
        (
            vec![("TLS__CERTIFICATE", "key.pem"), ("TLS__KEY", "cert.pem")],
            1,
            "tls.certificate key.pem holds no usable PEM certificate: it holds a private key, and tls.key a \
             certificate: they are swapped",
        ),
        (
            vec![("TLS__CERTIFICATE", "gone.pem"), ("TLS__KEY", "key.pem")],
            1,
            "tls.certificate gone.pem",
        ),
        (
            vec![("ORIGIN__TLS__CA_FILE", "gone.pem")],
            1,
            "origin.tls.ca_file gone.pem",
        ),
        (vec![("SERVER__LISTEN", &*taken)], 0, "is taken"),
        (
            vec![("SERVER__LISTEN", "192.0.2.1:80")],
            1,
            "not an address of this machine",
        ),
        (vec![("STORE__DIRECTORY", "to/be/made")], 0, ""),
        (
            vec![("STORE__DIRECTORY", "key.pem")],
            1,
            "store.directory: key.pem is no directory",
        ),
    ] {
        let output = output_of(&program(&variables));
        let said = error(&output);
        assert_eq!(output.status.code(), Some(code), "{variables:?}: {said}");
        assert!(said.contains(words), "{variables:?}: {said}");
        assert_eq!(said.is_empty(), words.is_empty(), "{variables:?}: {said}");
    }
}

#[test]
fn the_environment_lies_over_the_named_file_and_that_over_the_defaults() {
    let program = Program::new()
        .file(
            "local.toml",
            "[server]\nworkers = 3\nmax_connections = 30\nbacklog = 77",
        )
        .file("other.toml", "[server]\nworkers = 4\nmax_connections = 40");
    let server = |program: &Program, key: &str| program.checked()["server"][key].as_integer();
    assert_eq!(server(&program, "workers"), Some(3));
    let program = program.variable("FILEPROXY_ENV", "other");
    assert_eq!(server(&program, "workers"), Some(4));
    assert_eq!(
        server(&program, "backlog"),
        Some(1024),
        "local.toml is not read"
    );
    let program = program
        .variable("FILEPROXY__SERVER__WORKERS", "5")
        .variable("FILEPROXY__ORIGIN__URL", "https://files.example/base")
        .variable("FILEPROXY__ORIGIN__TLS__VERIFY", "false")
        .variable(
            "FILEPROXY__SERVER__TRUSTED_PROXIES",
            "10.0.0.0/8, 192.0.2.7",
        )
        .variable("FILEPROXY__LEVELS__LOW__CONNECT_TIMEOUT", "9s")
        .variable("FILEPROXY__RATE_LIMIT__INITIAL", "500");
    assert_eq!(server(&program, "workers"), Some(5));
    assert_eq!(server(&program, "max_connections"), Some(40));
    let all = program.checked();
    assert_eq!(
        all["origin"]["url"].as_str(),
        Some("https://files.example/base")
    );
    assert_eq!(all["origin"]["tls"]["verify"].as_bool(), Some(false));
    assert_eq!(all["levels"]["low"]["connect_timeout"].as_str(), Some("9s"));
    assert_eq!(
        all["server"]["trusted_proxies"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn a_wrong_environment_variable_is_named_by_its_key() {
    let program = Program::new().variable("FILEPROXY__SERVER__HEAD_TIMEOUT", "soon");
    let output = program.run(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    let message = error(&output);
    assert!(
        message.contains("server.head_timeout") && message.contains("soon"),
        "{message}"
    );
    let program = Program::new().variable("FILEPROXY__SERVER__HAED_TIMEOUT", "1s");
    let message = error(&program.run(&["check"]));
    assert!(message.contains("haed_timeout"), "{message}");
}

#[test]
fn what_check_prints_can_be_read_again_and_never_tells_a_secret() {
    let program = Program::new()
        .variable("FILEPROXY__ADMIN__TOKEN", "a-token-to-keep-secret")
        .variable(
            "FILEPROXY__REDIS__URL",
            "redis://user:a-password-to-keep@127.0.0.1:1/0",
        );
    let output = program.run(&["check"]);
    assert!(output.status.success(), "{}", error(&output));
    let text = String::from_utf8(output.stdout).unwrap() + &error(&output_of(&program));
    assert!(!text.contains("a-token-to-keep-secret"), "{text}");
    assert!(!text.contains("a-password-to-keep"), "{text}");

    let plain = Program::new();
    let printed = String::from_utf8(plain.run(&["check"]).stdout).unwrap();
    let again = Program::new().file("local.toml", &printed);
    assert_eq!(plain.checked(), again.checked());
}

#[test]
fn no_secret_is_repeated_whatever_is_wrong_with_it() {
    let secret = "s3cret";
    for (key, value) in [
        ("REDIS__URL", "user:s3cret@host:6379"),
        ("REDIS__URL", "redis://:pa/s3cret@host"),
        ("REDIS__URL", "redis://:pa#s3cret@host"),
        ("REDIS__URL", "redis://h/0?password=s3cret"),
        (
            "REDIS__URL",
            "rediss://u:s3cret@h/0?password=s3cret#insecure",
        ),
        (
            "REDIS__URL",
            "redis+cluster://u:s3cret@a:1,b:2?password=s3cret",
        ),
        ("REDIS__URL", "unix:///run/redis.sock?pass=s3cret"),
        ("REDIS", "s3cret"),
        ("ADMIN", "s3cret"),
        ("ADMIN__TOKEN", "s3cret with a space"),
        ("TRACES", "s3cret"),
        ("TRACES__COLLECTOR", "http://u:s3cret@collector"),
        ("TRACES__COLLECTOR", "https://collector/?key=s3cret"),
        ("ORIGIN__URL", "http://u:s3cret@host"),
        ("ORIGIN__URL", "http://host/?key=s3cret"),
        ("ORIGIN__HOST", "u:s3cret@host"),
    ] {
        let program = Program::new().variable(&format!("FILEPROXY__{key}"), value);
        let output = output_of(&program);
        let text = String::from_utf8(output.stdout.clone()).unwrap() + &error(&output);
        assert!(!text.contains(secret), "{key}: {text}");
        assert!(text.len() > 20, "{key}: {text}");
    }
    for file in [
        "[redis]\nurl = \"redis://:s3cret@host\n",
        "[admin]\ntoken = s3cret\n",
    ] {
        let output = output_of(&Program::new().file("local.toml", file));
        let said = error(&output);
        assert!(!said.contains(secret), "{said}");
        assert!(said.contains("line 2, column"), "{said}");
    }
    let probe = Program::new().run(&["probe", "http://u:s3cret@127.0.0.1:1/?key=s3cret"]);
    assert!(!error(&probe).contains(secret), "{}", error(&probe));
}

fn output_of(program: &Program) -> Output {
    program.run(&["check"])
}

#[test]
fn a_taken_port_is_said_in_words_with_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let program = Program::new().variable("FILEPROXY__SERVER__LISTEN", &address);
    let output = program.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let message = error(&output);
    assert!(
        message.contains(&address)
            && message.contains("taken")
            && message.contains("server.listen"),
        "{message}"
    );
}

#[test]
fn an_address_that_is_not_here_is_said_in_words() {
    let program = Program::new().variable("FILEPROXY__SERVER__LISTEN", "192.0.2.1:80");
    let output = program.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error(&output).contains("not an address of this machine"),
        "{}",
        error(&output)
    );
}

#[test]
fn a_ca_file_that_is_not_there_is_said_in_words() {
    let program = Program::new()
        .variable("FILEPROXY__SERVER__LISTEN", "127.0.0.1:0")
        .variable("FILEPROXY__ORIGIN__URL", "https://localhost:1")
        .variable("FILEPROXY__ORIGIN__TLS__CA_FILE", "no-such.pem");
    let output = program.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let message = error(&output);
    assert!(
        message.contains("origin.tls.ca_file") && message.contains("no-such.pem"),
        "{message}"
    );
}

#[test]
fn version_and_help_are_told() {
    let program = Program::new();
    let version = program.run(&["--version"]);
    assert!(version.status.success());
    assert_eq!(
        String::from_utf8(version.stdout).unwrap().trim(),
        concat!("fileproxy ", env!("CARGO_PKG_VERSION"))
    );
    let help = program.run(&["--help"]);
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    for command in ["serve", "check", "demo", "origin"] {
        assert!(help.contains(command), "{help}");
    }
    let unknown = program.run(&["fly"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn the_program_serves_until_sigterm_and_then_ends_with_code_0() {
    let origin = Origin::saying(crate::support::origin::ok("from the origin"));
    let program = Program::new()
        .variable("FILEPROXY__SERVER__LISTEN", "127.0.0.1:0")
        .variable("FILEPROXY__SERVER__DRAIN_NOTICE", "10ms")
        .variable("FILEPROXY__ORIGIN__URL", &origin.url())
        .variable("FILEPROXY__LOG__FORMAT", "json")
        .variable("FILEPROXY__ADMIN__TOKEN", "a-token-to-keep-secret");
    let mut child = program.command(&[]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    let address = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended: {text}");
        text += &line;
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if event["message"] == "serving" {
            break event["listen"].as_str().unwrap().parse().unwrap();
        }
    };
    let answer = Client::to(address).get_with(
        "/file?token=in-the-query",
        "x-request-id: id-of-this-one\r\n",
    );
    assert_eq!(answer.text(), "from the origin");
    let term = Command::new("kill").arg(child.id().to_string()).status();
    assert!(term.unwrap().success());
    log.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let line: serde_json::Value = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|event| event["target"] == "access")
        .expect("an access line");
    assert_eq!(line["id"], "id-of-this-one");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/file");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes"], 15);
    assert_eq!(line["outcome"], "completed");
    assert!(line["origin_ms"].is_number() && line["total_ms"].is_number());
    assert!(!text.contains("in-the-query"), "a query was logged: {text}");
    assert!(
        !text.contains("a-token-to-keep-secret"),
        "a token was logged: {text}"
    );
}
