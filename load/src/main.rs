//! The command `load`.

use std::process::ExitCode;

use clap::Parser as _;
use fileproxy_load::{
    cli::Cli,
    failure::{Failure, exit_code},
};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = tokio::select! {
        result = Cli::parse().run() => result,
        // Dropping the run removes what it made.
        () = interrupted() => Err(Failure::Interrupted.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            exit_code(&error)
        }
    }
}

/// Ends with the first SIGINT, SIGTERM or SIGHUP.
async fn interrupted() {
    let mut signals = Vec::new();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        if let Ok(stream) = signal(kind) {
            signals.push(stream);
        }
    }
    std::future::poll_fn(|context| {
        if signals.iter_mut().any(|s| s.poll_recv(context).is_ready()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}
