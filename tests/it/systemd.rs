//! Under systemd: what it is told, the sockets that it hands over, and the units themselves.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use fileproxy::{
    actors::{ActorName, Fault},
    app::pulse::{Pulse, Stalled},
};

use crate::support::{
    DEADLINE,
    client::Client,
    eventually,
    instance::Instance,
    origin::{Origin, ok},
    program::Program,
};

const PATIENCE: Duration = Duration::from_secs(1);

/// The next message to systemd that begins so.
fn until_told(socket: &UnixDatagram, begin: &str) {
    let mut message = [0; 4096];
    loop {
        let n = socket.recv(&mut message).expect(begin);
        if message[..n].starts_with(begin.as_bytes()) {
            return;
        }
    }
}

#[test]
fn systemd_hears_of_readiness_reload_and_end_and_the_watchdog_is_fed() {
    let origin = Origin::saying(ok("x"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut program = Program::with(&format!("http://{}", origin.address()), "", |program| {
        let mut command = Command::new(program);
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "4000000");
        command
    });
    until_told(&socket, "READY=1");
    for _ in 0..3 {
        until_told(&socket, "WATCHDOG=1");
    }
    program.signal("HUP");
    until_told(&socket, "RELOADING=1\nMONOTONIC_USEC=");
    until_told(&socket, "READY=1");
    program.signal("TERM");
    until_told(&socket, "STOPPING=1");
    assert_eq!(program.until_ended(), Some(0));
}

#[actix_rt::test]
async fn a_worker_that_hangs_does_not_turn() {
    let instance = Instance::start();
    let pulse = Pulse::new(2);
    pulse.join();
    let (hang, hung) = std::sync::mpsc::channel::<()>();
    let other = pulse.clone();
    let worker = std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            other.join();
            actix_rt::task::yield_now().await;
            _ = hung.recv();
        });
    });
    eventually("one of two turns", || async {
        let stalled = pulse.check(&instance.published, PATIENCE).err()?;
        let one = Stalled::Workers {
            beating: 1,
            workers: 2,
        };
        (stalled == one).then_some(())
    })
    .await;
    drop(hang);
    worker.join().unwrap();
    // A thread that is gone does not turn either, but one that ends as the process drains holds nothing up.
    assert!(pulse.check(&instance.published, PATIENCE).is_err());
    instance.published.drain();
    assert_eq!(pulse.check(&instance.published, PATIENCE), Ok(()));
}

#[actix_rt::test]
async fn actors_that_hang_do_not_turn_until_they_are_started_anew() {
    let instance = Instance::start();
    let pulse = Pulse::new(1);
    pulse.join();
    eventually("all turn", || async {
        pulse.check(&instance.published, PATIENCE).ok()
    })
    .await;
    instance
        .actors
        .inject(ActorName::MetricsWindow, Fault::Hang(DEADLINE));
    eventually("the window hangs", || async {
        let stalled = pulse.check(&instance.published, PATIENCE).err()?;
        matches!(stalled, Stalled::Actors(_)).then_some(())
    })
    .await;
    eventually("all turn again", || async {
        pulse.check(&instance.published, PATIENCE).ok()
    })
    .await;
}

/// The program with this listening socket as systemd would hand it over.
fn given(listener: &TcpListener, origin: &Origin, name: &str) -> Program {
    let socket = OwnedFd::from(listener.try_clone().unwrap());
    let settings = "[server]\ndrain_notice = \"100ms\"\n";
    Program::with(
        &format!("http://{}", origin.address()),
        settings,
        |program| {
            let mut command = Command::new("sh");
            command
                .arg("-c")
                .arg("exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\"")
                .arg(program)
                .env("LISTEN_FDS", "1")
                .env("LISTEN_FDNAMES", name)
                .stdin(Stdio::from(socket));
            command
        },
    )
}

#[test]
fn a_restart_with_a_socket_of_systemds_refuses_no_connection() {
    let origin = Origin::answering(|_| ok("file"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut first = given(&listener, &origin, "public");
    assert_eq!(first.address(), address);
    assert_eq!(Client::to(address).get("/a").text(), "file");
    first.signal("TERM");
    assert_eq!(first.until_ended(), Some(0));

    // Nobody serves: it is not refused, it waits.
    let mut waiting = Client::to(address);
    waiting.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let _second = given(&listener, &origin, "public");
    assert_eq!(waiting.response().text(), "file");
}

#[test]
fn clients_that_come_all_the_time_lose_no_request_over_restarts() {
    let origin = Origin::answering(|_| ok("file"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let over = AtomicBool::new(false);
    let mut program = given(&listener, &origin, "public");
    std::thread::scope(|scope| {
        // Who comes anew for each request, at once or when the connection is a moment old, and who keeps theirs.
        for (keeps, waits) in [(false, 0), (false, 0), (false, 20), (true, 0), (true, 5)] {
            let over = &over;
            scope.spawn(move || {
                let mut client = Client::to(address);
                while !over.load(Relaxed) {
                    std::thread::sleep(Duration::from_millis(waits));
                    let response = client.patient().get("/a");
                    assert_eq!(response.text(), "file", "{response:?}");
                    if !keeps || response.field("connection").as_deref() == Some("close") {
                        client = Client::to(address);
                    }
                }
            });
        }
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(500));
            program.signal("TERM");
            assert_eq!(program.until_ended(), Some(0));
            program = given(&listener, &origin, "public");
        }
        over.store(true, Relaxed);
    });
}

#[test]
fn a_socket_called_admin_is_the_operators() {
    let origin = Origin::answering(|_| ok("file"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = given(&listener, &origin, "admin");
    let operators = Client::to(listener.local_addr().unwrap()).get("/health");
    assert_eq!(operators.status, 200);
    assert!(operators.text().contains("uptime_seconds"));
    assert_eq!(program.client().get("/health").text(), "file");
}

#[test]
fn several_sockets_called_public_are_all_the_clients() {
    let origin = Origin::answering(|_| ok("file"));
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = listeners
        .each_ref()
        .map(|l| OwnedFd::from(l.try_clone().unwrap()));
    let program = Program::with(&format!("http://{}", origin.address()), "", |program| {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\"")
            .arg(program)
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", "public:public")
            .stdin(Stdio::from(first))
            .stdout(Stdio::from(second));
        command
    });
    for listener in &listeners {
        let address = listener.local_addr().unwrap();
        assert_eq!(Client::to(address).get("/a").text(), "file");
        assert!(
            Client::to(address)
                .get("/health")
                .text()
                .contains("uptime_seconds")
        );
        let listed = program.serving()["listen"].as_str().unwrap();
        assert!(listed.contains(&address.to_string()), "{listed}");
    }
}

/// `systemd-analyze` over the units, with the program that was built here.
fn analyze(arguments: &[&str], unit: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("settings/systemd");
    for unit in std::fs::read_dir(units).unwrap() {
        let unit = unit.unwrap();
        let text = std::fs::read_to_string(unit.path()).unwrap();
        let text = text.replace("/usr/local/bin/fileproxy", env!("CARGO_BIN_EXE_fileproxy"));
        std::fs::write(folder.path().join(unit.file_name()), text).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(folder.path().join(unit))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn the_units_are_valid() {
    for unit in [
        "fileproxy.service",
        "fileproxy.socket",
        "fileproxy-admin.socket",
    ] {
        let (valid, said) = analyze(&["verify", "--man=no"], unit);
        assert!(valid && said.trim().is_empty(), "{unit}: {said}");
    }
}

#[test]
fn the_service_is_hardened() {
    // In tenths: systemd calls a unit under 3.0 safe; without any hardening it is 9.6.
    let (hardened, said) = analyze(
        &["security", "--offline=yes", "--threshold=20", "--no-pager"],
        "fileproxy.service",
    );
    assert!(hardened, "{said}");
}
