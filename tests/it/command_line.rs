//! What the command line says and how it ends when something is wrong: texts for people, exit codes for scripts.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
};

use crate::support::{
    origin::{Origin, ok},
    program::Program,
    proxy::Upstream as _,
};

/// The program with these arguments and settings, and nothing else of this machine's.
fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fileproxy"));
    command.env_clear().env("FILEPROXY_SETTINGS", folder.path());
    for (key, value) in settings {
        command.env(format!("FILEPROXY__{key}"), value);
    }
    command.args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_wrong_setting_ends_with_code_2_and_says_the_key_and_what_it_must_be() {
    for (key, value, text) in [
        (
            "ORIGIN__URL",
            "ftp://files",
            "origin.url: `ftp` is neither http nor https (by FILEPROXY__ORIGIN__URL)\n",
        ),
        ("SERVER__HEAD_TIMEOUT", "15", "with its unit, like \"15s\""),
        (
            "SERVER__MAX_HEAD",
            "64",
            "`64` is not a size: give a number with its unit",
        ),
        (
            "SERVER__LISTEN",
            "10080",
            "server.listen: invalid socket address syntax: give an address and a port",
        ),
        (
            "SERVER__HEADTIMEOUT",
            "15s",
            "unknown setting server.headtimeout by FILEPROXY__SERVER__HEADTIMEOUT: did you mean \
             FILEPROXY__SERVER__HEAD_TIMEOUT?\n",
        ),
        (
            "OPTIMIZATION__LEVEL",
            "turbo",
            "`turbo` is not a level: give low, medium or high",
        ),
        (
            "LOG__FORMAT",
            "xml",
            "`xml` is not a format: give pretty or json",
        ),
        (
            "RATE_LIMIT__MIN",
            "5000",
            "rate_limit.min must be at most rate_limit.max (1000), but is 5000",
        ),
    ] {
        let output = run(&["check"], &[(key, value)]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{key}: {said}");
        assert!(said.contains(text), "{key}: {said}");
        assert!(!said.contains("for key"), "{key}: {said}");
    }
}

#[test]
fn what_check_prints_is_a_settings_file_with_the_same_settings() {
    let first = run(
        &["check"],
        &[("ADMIN__TOKEN", "s3cret"), ("TCP__SEND_BUFFER", "100KiB")],
    );
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    let printed = String::from_utf8(first.stdout).unwrap();
    assert!(!printed.contains("s3cret"), "{printed}");
    assert!(printed.contains("send_buffer = \"100KiB\""), "{printed}");
    assert!(printed.contains("max_head = \"64KiB\""), "{printed}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("again.toml"), &printed).unwrap();
    let again = Command::new(env!("CARGO_BIN_EXE_fileproxy"))
        .env_clear()
        .args(["--env", "again", "--settings"])
        .arg(folder.path())
        .arg("check")
        .output()
        .unwrap();
    let again = String::from_utf8(again.stdout).unwrap();
    let settings = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(settings(&again), settings(&printed));
    assert!(again.contains("# from the defaults, "), "{again}");
    assert!(again.contains("again.toml\n"), "{again}");
    let variables = "# from the defaults, FILEPROXY__ADMIN__TOKEN,FILEPROXY__TCP__SEND_BUFFER\n";
    assert!(printed.contains(variables), "{printed}");
}

#[test]
fn a_directory_that_the_store_cannot_use_ends_with_code_2_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let start = |directory: &str| {
        let settings = [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("ADMIN__LOCAL", "127.0.0.1:0"),
            ("STORE__DIRECTORY", directory),
        ];
        let output = run(&[], &settings);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("settings: store.directory: "), "{said}");
        said
    };
    fs::write(path("file"), "mine").unwrap();
    assert!(start(&path("file")).contains("is no directory"));
    assert_eq!(fs::read(path("file")).unwrap(), b"mine");

    fs::create_dir(path("other")).unwrap();
    fs::write(path("other/song.mp3"), "mine").unwrap();
    assert!(start(&path("other")).contains("not of this store's format"));
    assert_eq!(fs::read(path("other/song.mp3")).unwrap(), b"mine");

    let origin = Origin::answering(|_| ok("file"));
    let settings = format!("[store]\ndirectory = {:?}\n", path("used"));
    let _other = Program::before(&origin.url(), &settings);
    assert!(start(&path("used")).contains("is used by another instance"));

    assert!(start("/proc/none").contains("/proc/none"));
}

#[test]
fn completions_and_the_man_page_name_every_command() {
    let commands = [
        "serve",
        "check",
        "demo",
        "origin",
        "probe",
        "completions",
        "man",
    ];
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell], &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        for command in commands {
            assert!(text.contains(command), "{shell}: {command}");
        }
    }
    let page = String::from_utf8(run(&["man"], &[]).stdout).unwrap();
    assert!(page.contains(".TH fileproxy 1"), "{page}");
    for command in commands {
        assert!(page.contains(command), "{command}");
    }
    assert_eq!(run(&["completions", "tcl"], &[]).status.code(), Some(2));
}

#[test]
fn a_taken_port_ends_with_code_1_and_says_which() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let serve = run(&[], &[("SERVER__LISTEN", &address)]);
    assert_eq!(serve.status.code(), Some(1));
    assert!(
        said(&serve).contains(&format!("{address} is taken")),
        "{}",
        said(&serve)
    );

    for option in ["--origin", "--listen"] {
        let other = if option == "--origin" {
            "--listen"
        } else {
            "--origin"
        };
        let demo = run(&["demo", other, "127.0.0.1:0", option, &address], &[]);
        assert_eq!(demo.status.code(), Some(1));
        let said = said(&demo);
        assert!(said.contains(&address) && said.contains(option), "{said}");
    }
}

#[test]
fn a_probe_of_nothing_ends_with_code_1_and_says_where() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}/");
    let output = run(&["probe", &url], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&url), "{}", said(&output));
}
