//! What a release gives out, made of the program at hand: the program itself, tried, a Debian package, and their checksums. And
//! what goes into an image.

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
        // A program with all that a debugger wants takes long to compress.
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
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
    let listed = std::fs::read_to_string(out.path().join("SHA256SUMS")).unwrap();
    for file in files.iter().filter(|file| *file != "SHA256SUMS") {
        assert!(listed.contains(&format!("  {file}\n")), "{file}: {listed}");
    }
    assert!(files.len() >= 3, "{files:?}");
    let sums = Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(Path::new(out.path()))
        .status();
    assert!(sums.unwrap().success());
}

/// A script of packaging/ where `path` alone is on the PATH; whether it was content, and what it said of errors.
fn told(script: &str, arguments: &[&str], path: &Path) -> (bool, String) {
    let output = Command::new("/bin/bash")
        .arg(script)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("PROGRAM")
        .env("OUT", path.join("out"))
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

#[test]
fn a_release_says_what_it_lacks_before_it_builds_anything() {
    // A machine that has the shell's tools and no compiler.
    let folder = tempfile::tempdir().unwrap();
    for tool in [
        "bash",
        "date",
        "cut",
        "dirname",
        "dpkg-deb",
        "gzip",
        "head",
        "sed",
        "sha256sum",
        "tr",
        "uname",
        "curl",
    ] {
        let found = said("which", &[tool]);
        let Some(found) = found else { continue };
        std::os::unix::fs::symlink(found.trim(), folder.path().join(tool)).unwrap();
    }
    let target = "aarch64-unknown-linux-musl";
    let (content, text) = told("packaging/release.sh", &[target], folder.path());
    assert!(!content);
    assert!(
        text.contains(&format!("rustup target add {target}")),
        "{text}"
    );
    assert!(text.contains("apt-get install"), "{text}");
    assert!(text.contains("nothing was built"), "{text}");
    // Left out if that is asked for: then nothing is left.
    let arguments = ["--skip-missing", target];
    let (content, text) = told("packaging/release.sh", &arguments, folder.path());
    assert!(!content && text.contains("no target is left"), "{text}");
    let (content, text) = told("packaging/release.sh", &["sparc"], folder.path());
    assert!(!content && text.contains("unknown processor"), "{text}");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_program_that_spoils_bytes_is_not_given_out() {
    let folder = tempfile::tempdir().unwrap();
    // Everything as it should be, but that its origin has another file each time.
    let program = folder.path().join("fileproxy");
    let text = format!(
        "#!/bin/sh\ncase \"$1\" in origin) exec python3 -u -c '{}' ;; *) exec {} \"$@\" ;; esac\n",
        "import http.server, os\n\
         class Other(http.server.BaseHTTPRequestHandler):\n\
         \x20 def do_GET(self):\n\
         \x20   self.send_response(200)\n\
         \x20   self.send_header(\"Content-Length\", \"10485760\")\n\
         \x20   self.end_headers()\n\
         \x20   self.wfile.write(os.urandom(10485760))\n\
         server = http.server.HTTPServer((\"127.0.0.1\", 0), Other)\n\
         print(\"127.0.0.1:%d\" % server.server_port)\n\
         server.serve_forever()",
        env!("CARGO_BIN_EXE_fileproxy")
    );
    std::fs::write(&program, text).unwrap();
    let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, runs).unwrap();
    let output = Command::new("packaging/try.sh")
        .arg(&program)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("other bytes"), "{said}");
}

#[test]
fn an_image_has_the_program_certificates_and_settings_alone() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("certificates.pem");
    std::fs::write(&certificates, "certificates").unwrap();
    let image = folder.path().join("image");
    // A static program is any that needs no library: here a text.
    let program = folder.path().join("program");
    std::fs::write(&program, "static").unwrap();
    let make = |program: &Path| {
        let output = Command::new("packaging/image.sh")
            .arg(program)
            .arg("fileproxy")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("FOLDER", &image)
            .env("CERTIFICATES", &certificates)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let (done, text) = make(Path::new(env!("CARGO_BIN_EXE_fileproxy")));
    assert!(!done && text.contains("needs libraries"), "{text}");
    let (done, text) = make(&program);
    assert!(done, "{text}");
    let files = said("find", &[&image.display().to_string(), "-type", "f"]).unwrap();
    let mut files: Vec<_> = files
        .lines()
        .map(|file| Path::new(file).strip_prefix(&image).unwrap())
        .collect();
    files.sort();
    let expected = [
        "app/settings/base.toml",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/local/bin/fileproxy",
    ];
    assert_eq!(files, expected.map(Path::new));
}

#[test]
fn an_image_of_a_program_at_hand_is_the_one_that_the_dockerfile_makes() {
    let folder = tempfile::tempdir().unwrap();
    // Says what it is asked to build, in docker's place.
    let docker = folder.path().join("docker");
    std::fs::write(&docker, "#!/bin/sh\ncat \"$3\"\nls \"$6\"\n").unwrap();
    let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&docker, runs).unwrap();
    let program = folder.path().join("program");
    std::fs::write(&program, "static").unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("packaging/image.sh")
        .arg(&program)
        .arg("fileproxy")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("CERTIFICATES", &program)
        .output()
        .unwrap();
    let asked = String::from_utf8(output.stdout).unwrap();
    let source = std::fs::read_to_string("Dockerfile").unwrap();
    let stage = &source[source.find("FROM scratch").unwrap()..];
    let expected = stage.replace("COPY --from=builder /image /\n", "COPY / /\n");
    assert_ne!(stage, expected);
    assert_eq!(asked, format!("{expected}app\netc\ntmp\nusr\n"));
    assert!(stage.contains("\nUSER 10001:10001\n"));
}
