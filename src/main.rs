//! The command line.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use fileproxy::{
    app::{Application, Findings, StartError, preflight},
    demo::{self, Demo, network::Network, origin::Origin},
    path::listener::{Inherited, ListenError},
    settings::{
        Settings, SettingsError,
        layers::{Layers, SettingsFiles, Stray},
    },
    store::disk::OpenError,
    telemetry,
    traffic::{level::Level, redacted::redacted},
};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Any free port, for this machine only.
const LOCAL: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
/// How long to wait for the log's reader when the process ends.
const LAST_LINES: Duration = Duration::from_secs(3);

/// A reverse proxy for files that keeps delivering when the network is bad.
///
/// Settings come from settings/base.toml, settings/<name>.toml and the environment (FILEPROXY__ORIGIN__URL and so
/// on, two underscores between the parts), each laid over the one before.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// The folder with the settings files [default: settings].
    #[arg(long, global = true, env = "FILEPROXY_SETTINGS", value_name = "FOLDER")]
    settings: Option<PathBuf>,

    /// Which settings file is laid over base.toml [default: local].
    #[arg(long, global = true, env = "FILEPROXY_ENV", value_name = "NAME")]
    env: Option<String>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (what happens without a command, too).
    Serve,
    /// Check the settings and say what is in force.
    Check,
    /// Try it: a built-in origin, the proxy before it, and what to do with them.
    Demo(demo::Options),
    /// Serve the demo's files only, as an origin for proxies elsewhere.
    Origin {
        /// Address and port.
        #[arg(long, default_value = "127.0.0.1:27804", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Like a server over which network to answer.
        #[arg(long, value_enum, default_value_t = Network::Good)]
        network: Network,
    },
    /// Ask a running proxy (or any URL) for its health: exit code 0 if it answers 200.
    Probe {
        /// What to ask.
        #[arg(default_value = "http://127.0.0.1:10080/health/ready")]
        url: String,
    },
    /// Print the completions of a shell, for its own folder of them.
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the man page, for a folder like /usr/share/man/man1.
    Man,
}

/// Why the program fails.
enum Failure {
    /// Invalid settings: exit code 2, as for a wrong option.
    Settings(String),
    /// Anything else: exit code 1.
    Run(String),
}

impl Failure {
    fn run(error: impl std::fmt::Display) -> Self {
        Failure::Run(error.to_string())
    }
}

fn main() -> ExitCode {
    // Of a huge page (2 MiB) that the allocator's arena got, most would stay unused: 18 MiB at the start. Where the kernel
    // cannot, it is only memory.
    _ = rustix::thread::disable_transparent_huge_pages(true);
    let cli = Cli::parse();
    // An empty variable counts as not set.
    let files = SettingsFiles {
        folder: cli.settings.filter(|folder| !folder.as_os_str().is_empty()),
        name: cli.env.filter(|name| !name.is_empty()),
    };
    let done = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(&files),
        Command::Check => check(&files),
        Command::Demo(options) => show(&files, options),
        Command::Origin { listen, network } => origin(listen, network),
        Command::Probe { url } => probe(&url),
        Command::Completions { shell } => completions(shell),
        Command::Man => man(),
    };
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(why)) => {
            telemetry::say(&format!("fileproxy: settings: {why}"));
            ExitCode::from(2)
        }
        Err(Failure::Run(why)) => {
            telemetry::say(&format!("fileproxy: {why}"));
            ExitCode::FAILURE
        }
    };
    telemetry::flush(LAST_LINES);
    code
}

/// Writes to standard output. A closed pipe (`| head`) is not an error.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run(error)),
        _ => Ok(()),
    }
}

/// Reads the settings and their sources.
fn read(files: &SettingsFiles) -> Result<(Settings, Layers), Failure> {
    let wrong = |error: SettingsError| Failure::Settings(error.to_string());
    let layers = Layers::read(files).map_err(|error| wrong(error.into()))?;
    let settings = Settings::from_layers(&layers).map_err(wrong)?;
    Ok((settings, layers))
}

/// Logs where the settings come from, and environment variables that look like settings but are none.
fn told_sources(settings: &Settings, layers: &Layers) {
    let (files, variables) = (listed_files(layers), listed_variables(layers));
    tracing::info!(files, variables, "settings read");
    for stray in settings.strays() {
        tracing::warn!(
            variable = stray.name,
            meant = stray.meant,
            "this variable is not read: a setting's has two underscores between its parts"
        );
    }
}

fn listed_files(layers: &Layers) -> String {
    let files: Vec<_> = layers
        .files()
        .map(|file| file.display().to_string())
        .collect();
    files.join(",")
}

fn listed_variables(layers: &Layers) -> String {
    layers.variables().collect::<Vec<_>>().join(",")
}

fn serve(files: &SettingsFiles) -> Result<(), Failure> {
    let inherited = Inherited::take().map_err(|error| {
        Failure::Run(format!(
            "the sockets that were handed over cannot be used: {error}"
        ))
    })?;
    let (settings, layers) = read(files)?;
    telemetry::start(&settings.log).map_err(Failure::run)?;
    told_sources(&settings, &layers);
    open_files(&settings);
    actix_rt::System::new().block_on(async {
        let origin = settings.origin.url.to_string();
        let level = settings.optimization.level;
        let mut hangups = signal(SignalKind::hangup()).map_err(Failure::run)?;
        let files = files.clone();
        let source = Box::new(move || Settings::read(&files));
        let app = Application::start_from(settings, source, inherited).map_err(not_started)?;
        told(&app, &origin, level);
        app.announce();
        let mut end = pin!(ending());
        let why = loop {
            tokio::select! {
                why = &mut end => break why,
                Some(()) = hangups.recv() => app.reload("SIGHUP").await,
            }
        };
        tracing::info!(signal = why, "asked to end");
        tokio::select! {
            () = app.drain() => {}
            why = ending() => tracing::warn!(signal = why, "asked to end again: at once"),
        }
        Ok(())
    })
}

/// A store that cannot be opened counts as a wrong setting.
fn not_started(error: StartError) -> Failure {
    match error {
        StartError::Store(OpenError::Directory(_) | OpenError::Memory) => {
            Failure::Settings(error.to_string())
        }
        error => Failure::run(error),
    }
}

/// Logs where it serves, and the URL of the dashboard.
fn told(app: &Application, origin: &str, level: Level) {
    let listen: Vec<_> = app.addresses().iter().map(ToString::to_string).collect();
    let (listen, operators, version) =
        (listen.join(","), app.operators(), env!("CARGO_PKG_VERSION"));
    let monitor = app.monitor();
    // Not called `level`, which a JSON line already has.
    tracing::info!(listen, %operators, monitor, origin, optimization_level = %level, version, "serving");
    if monitor.is_none() {
        tracing::warn!(
            "browsers refuse the ports of all addresses with the dashboard: admin.local gives it one for them"
        );
    }
}

/// Raises the limit on open files to the system's maximum, and warns if that is too low.
fn open_files(settings: &Settings) {
    // Two sockets for each client, and some for the rest.
    let wanted = settings
        .server
        .max_connections
        .saturating_mul(2)
        .saturating_add(256);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(allowed) if allowed < wanted => tracing::warn!(
            allowed,
            wanted,
            "few open files are allowed: raise `ulimit -n`, or lower server.max_connections"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit on open files cannot be raised"),
    }
}

/// Waits for SIGTERM or SIGINT.
async fn ending() -> &'static str {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

fn check(files: &SettingsFiles) -> Result<(), Failure> {
    let (settings, layers) = read(files)?;
    let Findings { wrong, notes } = preflight(&settings, SystemTime::now());
    let strays = settings.strays().into_iter().map(|stray| {
        let Stray { name, meant } = stray;
        format!("the variable {name} is not read: did you mean {meant}?")
    });
    for note in strays.chain(notes) {
        telemetry::say(&format!("fileproxy: {note}"));
    }
    if !wrong.is_empty() {
        return Err(Failure::Run(wrong.join("\nfileproxy: ")));
    }
    let shown = toml::to_string_pretty(&settings).map_err(Failure::run)?;
    let (files, variables) = (listed_files(&layers), listed_variables(&layers));
    let from: Vec<_> = ["the defaults", &*files, &*variables]
        .into_iter()
        .filter(|from| !from.is_empty())
        .collect();
    let from = from.join(", ");
    print(&format!(
        "# the settings are valid; these are in force\n# from {from}\n{shown}"
    ))
}

fn show(files: &SettingsFiles, options: demo::Options) -> Result<(), Failure> {
    let (mut settings, _) = read(files)?;
    settings.server.listen = options.listen.into();
    settings.redis.url = String::new().try_into().map_err(Failure::run)?;
    settings.log.access = false;
    // The printed commands use plain HTTP on one address.
    settings.tls.certificate = PathBuf::new();
    settings.tls.key = PathBuf::new();
    settings.admin.listen = None;
    // The demo's dashboard must be reachable even if the usual port is in use.
    let local = settings.admin.local.unwrap_or(LOCAL);
    settings.admin.local = Some(if TcpListener::bind(local).is_ok() {
        local
    } else {
        LOCAL
    });
    if options.canary {
        settings.optimization.level = Level::Low;
    }
    telemetry::start(&settings.log).map_err(Failure::run)?;
    actix_rt::System::new().block_on(async {
        let (address, listen) = (options.origin, options.listen);
        let demo = Demo::start(options).map_err(|error| {
            Failure::Run(format!(
                "the demo's origin cannot listen on {address}: {error}; --origin takes another address"
            ))
        })?;
        settings.origin.url = demo.origin_url().parse().map_err(Failure::run)?;
        let mut plain = plain(&settings);
        let app = Application::start(settings).map_err(|error| match error {
            StartError::Listen(ListenError::Taken { address, .. }) => Failure::Run(format!(
                "{address} is taken: another process listens there; --listen takes another address"
            )),
            error => Failure::run(error),
        })?;
        // If no token is set, only one is generated.
        plain.admin.token = app.token().as_str().into();
        let beside = match demo.compares() {
            true => Some(Application::start(plain).map_err(Failure::run)?),
            false => None,
        };
        let stop = async {
            ending().await;
        };
        let proxy = app.addresses().first().copied().unwrap_or(listen);
        let monitor = app.monitor().unwrap_or_default();
        let token = app.token();
        let beside_at = beside.as_ref().and_then(|app| app.addresses().first());
        let beside_at = beside_at.copied();
        demo.show(proxy, beside_at, &monitor, &token, &mut io::stdout(), stop)
            .await
            .map_err(Failure::run)?;
        if let Some(beside) = beside {
            beside.stop().await;
        }
        app.stop().await;
        Ok(())
    })
}

/// Settings of a plain proxy for the same origin, as the control group, without log lines of its own.
fn plain(settings: &Settings) -> Settings {
    let mut plain = settings.clone();
    plain.server.listen = LOCAL.into();
    plain.server.workers = 1;
    plain.admin.local = None;
    plain.optimization.level = Level::Low;
    plain.store.directory = PathBuf::new();
    plain.quality.probe = Duration::ZERO;
    // So large that the class never changes.
    plain.quality.hold = 100;
    plain.quality.min_samples = 10_000;
    plain
}

fn origin(listen: SocketAddr, network: Network) -> Result<(), Failure> {
    actix_rt::System::new().block_on(async {
        let origin = Origin::start(listen, network, 1)
            .map_err(|error| Failure::Run(format!("cannot listen on {listen}: {error}")))?;
        print(&format!("serving the demo's files on {}\n", origin.url()))?;
        ending().await;
        origin.stop();
        Ok(())
    })
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fileproxy", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// One man page for all commands.
fn man() -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let render = |page: &mut Vec<u8>| -> io::Result<()> {
        clap_mangen::Man::new(command.clone()).render(page)?;
        for of in command
            .get_subcommands()
            .filter(|of| of.get_name() != "help")
        {
            let man = clap_mangen::Man::new(of.clone());
            writeln!(page, ".SH {}", of.get_name().to_uppercase())?;
            man.render_description_section(page)?;
            if of.get_arguments().any(|argument| !argument.is_global_set()) {
                man.render_options_section(page)?;
            }
        }
        Ok(())
    };
    render(&mut page).map_err(Failure::run)?;
    print(&String::from_utf8_lossy(&page))
}

fn probe(url: &str) -> Result<(), Failure> {
    actix_rt::System::new().block_on(async {
        let response = awc::Client::default()
            .get(url)
            .send()
            .await
            .map_err(|error| Failure::Run(format!("{}: {error}", redacted(url))))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(Failure::Run(format!("{} answered {status}", redacted(url)))),
        }
    })
}
