//! The Debian package that a release gives out, made of the program at hand.

use std::{path::Path, process::Command};

use crate::support::need::need;

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = output.status.success();
    said.then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_release_has_a_package_with_all_that_an_operator_needs_and_checksums_that_hold() {
    let is_there = said("dpkg-deb", &["--version"]).is_some();
    if !need("dpkg-deb", "the Debian package is made", is_there) {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let made = Command::new("packaging/release.sh")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PROGRAM", env!("CARGO_BIN_EXE_fileproxy"))
        .env("OUT", out.path())
        .env_remove("TARGET")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{text}");
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    let files = std::fs::read_dir(out.path()).unwrap();
    let files: Vec<_> = files.map(|entry| name(entry.unwrap())).collect();
    let package = files.iter().find(|name| name.ends_with(".deb")).unwrap();
    let package = out.path().join(package).display().to_string();

    let content = said("dpkg-deb", &["-c", &package]).unwrap();
    for file in [
        "./usr/bin/fileproxy",
        "./etc/fileproxy/base.toml",
        "./usr/lib/systemd/system/fileproxy.service",
        "./usr/lib/systemd/system/fileproxy.socket",
        "./usr/lib/sysusers.d/fileproxy.conf",
        "./usr/share/man/man1/fileproxy.1.gz",
        "./usr/share/bash-completion/completions/fileproxy",
    ] {
        assert!(
            content.lines().any(|line| line.ends_with(file)),
            "{file}:\n{content}"
        );
    }
    assert!(
        content.lines().all(|line| line.contains("root/root")),
        "{content}"
    );
    let field = |name: &str| said("dpkg-deb", &["-f", &package, name]).unwrap();
    assert_eq!(field("Version").trim(), env!("CARGO_PKG_VERSION"));

    let unpacked = out.path().join("unpacked");
    said(
        "dpkg-deb",
        &["-x", &package, &unpacked.display().to_string()],
    )
    .unwrap();
    let unit = std::fs::read_to_string(unpacked.join("usr/lib/systemd/system/fileproxy.service"));
    assert!(unit.unwrap().contains("ExecStart=/usr/bin/fileproxy "));
    let program = unpacked.join("usr/bin/fileproxy").display().to_string();
    let version = said(&program, &["--version"]).unwrap();
    assert!(version.contains(env!("CARGO_PKG_VERSION")));
    let sums = Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(Path::new(out.path()))
        .status();
    assert!(sums.unwrap().success());
}
