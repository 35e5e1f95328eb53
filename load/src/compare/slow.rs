//! What a client costs in memory that reads a large file slowly.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{
    contestant::{start, verify},
    options::{DIRECT, Options},
    origin::NginxOrigin,
};
use crate::{host::Host, lab::Lab, units::ByteSize};

/// Bytes a slow reader takes at once, every quarter of a second: 64 KiB/s.
const SIP: usize = 16 * 1024;

/// Measures each contestant, freshly started, before so many readers; prints a table.
///
/// # Errors
///
/// A contestant does not start.
pub async fn readers(
    lab: &Lab,
    options: &Options,
    host: Host<'_>,
    dir: &Path,
    origin: &NginxOrigin,
    readers: usize,
) -> Result<()> {
    let size = options.sizes.iter().max().copied().context("no size")?;
    println!(
        "{readers} clients, each reading {size} at 64 KiB/s; memory is that of the proxy's processes (PSS), without"
    );
    println!("the kernel's socket buffers.\n");
    println!(
        "| proxy | readers served | idle MiB | most MiB | KiB per served reader |\n|---|---|---|---|---|"
    );
    for name in options.peers.iter().filter(|name| *name != DIRECT) {
        let mut contestant = start(lab, options, host, dir, origin, name)?;
        verify(
            host,
            &mut contestant,
            &[ByteSize::from_bytes(
                options.sizes.iter().min().map_or(1024, |s| s.bytes()),
            )],
        )?;
        let idle = contestant.usage().memory_bytes;
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let crowd = crowd(
            host,
            contestant.address,
            size,
            readers,
            Arc::clone(&stop),
            Arc::clone(&served),
        );
        let begin = Instant::now();
        let (mut most, mut most_served) = (0, 0);
        while begin.elapsed() < options.lasting.max(Duration::from_secs(5)) {
            sleep(Duration::from_millis(500)).await;
            most = most.max(contestant.usage().memory_bytes);
            most_served = most_served.max(served.load(Ordering::Relaxed));
        }
        stop.store(true, Ordering::Relaxed);
        crowd
            .join()
            .map_err(|_| anyhow::anyhow!("the readers panicked"))??;
        let mib = |bytes: u64| bytes as f64 / 1048576.0;
        println!(
            "| {name} | {most_served} | {:.1} | {:.1} | {:.1} |",
            mib(idle),
            mib(most),
            most.saturating_sub(idle) as f64 / 1024.0 / most_served.max(1) as f64,
        );
    }
    Ok(())
}

/// Starts the readers on a thread of their own.
fn crowd(
    host: Host<'_>,
    proxy: SocketAddr,
    size: ByteSize,
    readers: usize,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
) -> std::thread::JoinHandle<Result<()>> {
    let work = move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..readers {
                let served = Arc::clone(&served);
                tasks.spawn(async move {
                    // A thousand connections within two seconds, not in one instant.
                    sleep(Duration::from_millis(2 * n as u64)).await;
                    let request = format!(
                        "GET {} HTTP/1.1\r\nHost: lab\r\n\r\n",
                        super::origin::path(size)
                    );
                    let Ok(mut stream) = TcpStream::connect(proxy).await else {
                        return;
                    };
                    if stream.write_all(request.as_bytes()).await.is_err() {
                        return;
                    }
                    let mut sip = vec![0; SIP];
                    let mut counted = false;
                    while let Ok(got) = stream.read(&mut sip).await {
                        if got == 0 {
                            break;
                        }
                        if !counted && sip.starts_with(b"HTTP/1.1 200") {
                            counted = true;
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        sleep(Duration::from_millis(250)).await;
                    }
                    if counted {
                        served.fetch_sub(1, Ordering::Relaxed);
                    }
                });
            }
            while !stop.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(50)).await;
            }
            tasks.shutdown().await;
        });
        Ok(())
    };
    match host {
        Host::Here => std::thread::spawn(work),
        Host::In(namespace) => {
            let thread = namespace.thread(work);
            std::thread::spawn(move || {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("the readers panicked"))??
            })
        }
    }
}
