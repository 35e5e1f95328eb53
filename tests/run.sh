#!/usr/bin/env bash
# The one test command: installs what the tests need where it is missing, then format, lints, docs, the load lab in its
# short form, and the tests.
#
#   tests/run.sh              everything
#   tests/run.sh redis        format, lints and docs, then only the tests whose names contain `redis`
#
# The tests start their own Redis, origins and proxies on free ports; nothing has to run beforehand.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
# Some tests break an actor on purpose; to write where it broke takes seconds of a small machine.
export RUST_BACKTRACE=0
# One target folder for every step; nothing is built twice in a run, so incremental state would only cost.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
if [ -n "${CI:-}" ]; then
    export CARGO_INCREMENTAL=0
fi

die() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

say() {
    printf '\n== %s (%d s)\n' "$*" "$SECONDS"
}

# The packages that lack one of their commands.
missing() {
    command -v redis-server >/dev/null && command -v redis-cli >/dev/null || echo redis-server
    # The load lab's namespaces, and a look at its sockets.
    command -v ip >/dev/null && command -v ss >/dev/null || echo iproute2
    # The dashboard is looked at in a real browser.
    command -v chromedriver >/dev/null || echo chromium-driver
    # promtool reads /metrics.
    command -v promtool >/dev/null || echo prometheus
    # rustc links with it; ring compiles with it.
    command -v cc >/dev/null || echo gcc libc6-dev
    # The units are checked by systemd's own tool.
    command -v systemd-analyze >/dev/null || echo systemd
    # TLS and HTTP/2 are tried with clients that others wrote.
    command -v curl >/dev/null || echo curl ca-certificates
    command -v openssl >/dev/null || echo openssl
    # `kill` is a program for the tests, not the shell's.
    [ -x /bin/kill ] || [ -x /usr/bin/kill ] || echo procps
}

install() {
    local packages root=()
    packages=$(missing | xargs)
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null || die "these Debian packages are missing, and there is no apt-get: $packages"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "these packages are missing: $packages; run as root: apt-get install $packages"
        # Without a terminal nobody can answer a question.
        if [ -t 0 ]; then root=(sudo); else root=(sudo -n); fi
        root+=(env)
    fi
    say "apt-get install $packages"
    # No service is started: the tests start what they need. The lists of packages may be old or absent.
    local apt=("${root[@]+"${root[@]}"}")
    [ ${#apt[@]} -gt 0 ] || apt=(env)
    apt+=(DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=120)
    # shellcheck disable=SC2086 # one word each
    "${apt[@]}" install --no-install-recommends $packages </dev/null >/dev/null ||
        { "${apt[@]}" update </dev/null && "${apt[@]}" install --no-install-recommends $packages </dev/null >/dev/null; } ||
        die "apt-get could not install: $packages"
    packages=$(missing | xargs)
    [ -z "$packages" ] || die "still missing after apt-get: $packages"
}

toolchain() {
    if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
        # shellcheck disable=SC1091 # made by rustup
        . "$HOME/.cargo/env"
    fi
    command -v cargo >/dev/null || die "cargo is missing: install Rust 1.89 or later, with rustup or your system's packages"
    cargo fmt --version >/dev/null 2>&1 || die "rustfmt is missing: rustup component add rustfmt"
    cargo clippy --version >/dev/null 2>&1 || die "clippy is missing: rustup component add clippy"
}

install
toolchain

say "cargo fmt"
cargo fmt --all --check

say "cargo clippy"
cargo clippy --locked --workspace --all-targets --quiet -- -D warnings

say "cargo doc"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

# With the feature that the tests have on: nothing is built once more for them.
say "cargo build"
cargo build --locked --workspace --features fileproxy/testing --quiet

# Every scenario and workload for some seconds: it works, and no body is wrong. Only root may make namespaces.
if [ $# -eq 0 ]; then
    if [ "$(id -u)" -eq 0 ] && [ -c /dev/net/tun ]; then
        say "load run --short"
        "$CARGO_TARGET_DIR/debug/load" run normal poor very_poor --where both \
            --workload mix,download,viewers,faults --peers fileproxy-high --short \
            --fileproxy "$CARGO_TARGET_DIR/debug/fileproxy" --out "$CARGO_TARGET_DIR/lab"
        say "load page"
        "$CARGO_TARGET_DIR/debug/load" page poor --repeat 1 \
            --fileproxy "$CARGO_TARGET_DIR/debug/fileproxy" --out "$CARGO_TARGET_DIR/lab"
    else
        say "load run --short: skipped, for it needs root and /dev/net/tun"
    fi
fi

say "cargo test"
# Many tests hold real connections: the soft limit on open files is low on some systems.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
cargo test --locked --workspace --no-fail-fast -- "$@"

say "all passed"
