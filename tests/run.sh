#!/usr/bin/env bash
# The one test command. It says what it will do and about how long that takes, installs what the tests need where it is
# missing, and does it.
#
#   tests/run.sh                     everything, as continuous integration does
#   tests/run.sh redis               the same checks, but of the tests only those whose names contain `redis`
#   tests/run.sh --quick [redis]     for a change in hand: format, lints and unit tests of the proxy, and of the tests from
#                                    outside those whose names contain the word
#
# The tests start their own Redis, origins and proxies on free ports; nothing has to run beforehand. What a machine cannot
# have is left out by name: TESTS_WITHOUT=root,nginx,bbr,ipv6.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
# Some tests break an actor on purpose; to write where it broke takes seconds of a small machine.
export RUST_BACKTRACE=0
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
if [ -n "${CI:-}" ]; then
    # Nothing is built twice in a run, and nobody opens a debugger: neither is worth its time.
    export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
fi

die() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

say() {
    printf '\n== %s\n' "$*"
}

# The packages that lack one of their commands.
missing() {
    command -v redis-server >/dev/null && command -v redis-cli >/dev/null || echo redis-server
    # The load lab's namespaces, and a look at its sockets.
    command -v ip >/dev/null && command -v ss >/dev/null || echo iproute2
    # Something to compare the proxy with there.
    command -v nginx >/dev/null || echo nginx-light
    # The dashboard is looked at in a real browser.
    command -v chromedriver >/dev/null || echo chromium-driver
    # promtool reads /metrics.
    command -v promtool >/dev/null || echo prometheus
    # Compose files and their balancer.
    command -v haproxy >/dev/null || echo haproxy
    python3 -c 'import yaml' 2>/dev/null || echo python3-yaml
    # What a request costs is counted in instructions.
    command -v valgrind >/dev/null || echo valgrind
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
    # The kernel may have it and not loaded it.
    modprobe -q tcp_bbr 2>/dev/null || true
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

# The steps: what each is called, about how many seconds it takes on two quiet cores (from a clean clone), and its function.
# Lints and docs need types alone of what the proxy is built on, the tests all of it: two builds, each made once. The programs
# come with the tests; a build of their own would take the same again, for without the tests some crates have other features.
declare -a steps=()
plan() {
    steps+=("$1|$2|$3")
}

format() {
    cargo fmt --all --check
}

tree() {
    cargo deny --locked --workspace check --deny unmatched-skip --deny license-not-encountered licenses sources bans
}

lints() {
    cargo clippy --locked "${packages[@]}" --all-targets --quiet -- -D warnings
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
}

build() {
    cargo test --locked --workspace --no-run --quiet
}

# Every scenario and workload for some seconds: it works, and no body is wrong.
lab() {
    "$CARGO_TARGET_DIR/debug/load" run normal poor very_poor --where both \
        --workload mix,download,viewers,faults --peers fileproxy-high --short \
        --fileproxy "$CARGO_TARGET_DIR/debug/fileproxy" --out "$CARGO_TARGET_DIR/lab"
    "$CARGO_TARGET_DIR/debug/load" page poor --repeat 1 \
        --fileproxy "$CARGO_TARGET_DIR/debug/fileproxy" --out "$CARGO_TARGET_DIR/lab"
}

tests() {
    # Most of them wait more than they work.
    export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(nproc) + 1))}"
    cargo test --locked --workspace --no-fail-fast -- "${words[@]}"
}

units() {
    cargo test --locked --package fileproxy --lib --quiet
}

outside() {
    cargo test --locked --package fileproxy --test it --no-fail-fast -- "${words[@]}"
}

quick=
if [ "${1:-}" = --quick ]; then
    quick=1
    shift
fi
case "${1:-}" in -*) die "what is $1? tests/run.sh [--quick] [WORD]" ;; esac
words=("$@")
packages=(--workspace)

plan "cargo fmt" 2 format
if [ -n "$quick" ]; then
    packages=(--package fileproxy)
    plan "cargo clippy" 20 lints
    plan "unit tests" 30 units
    [ $# -eq 0 ] || plan "tests from outside that contain $*" 60 outside
else
    if command -v cargo-deny >/dev/null; then
        plan "cargo deny" 3 tree
    fi
    plan "cargo clippy" 240 lints
    plan "cargo doc" 40 docs
    plan "build" 540 build
    # Only root may make namespaces and TUN devices.
    if [ $# -eq 0 ] && [ "$(id -u)" -eq 0 ] && [ -c /dev/net/tun ]; then
        plan "load lab, in its short form" 150 lab
    fi
    plan "cargo test${*:+, those that contain $*}" 300 tests
fi

about=0
for step in "${steps[@]}"; do
    IFS='|' read -r name seconds _ <<<"$step"
    about=$((about + seconds))
    printf '%6d s  %s\n' "$seconds" "$name"
done
if [ -n "$quick" ]; then
    printf 'about %d s where little has changed; tests/run.sh without --quick does everything\n' "$about"
else
    printf 'about %d minutes on two quiet cores from a clean clone, half of it where it was built before\n' $(((about + 59) / 60))
    command -v cargo-deny >/dev/null || echo "left out: cargo deny, which is not installed (deny.toml)"
    if [ $# -eq 0 ] && { [ "$(id -u)" -ne 0 ] || [ ! -c /dev/net/tun ]; }; then
        echo "left out: the load lab, which needs root and /dev/net/tun"
    fi
fi

install
toolchain
# Many tests hold real connections: the soft limit on open files is low on some systems.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

took=
for step in "${steps[@]}"; do
    IFS='|' read -r name seconds function <<<"$step"
    say "$name (about $seconds s)"
    begin=$SECONDS
    "$function"
    took+="$name $((SECONDS - begin)) s, "
done

say "all passed in $SECONDS s: ${took%, }"
