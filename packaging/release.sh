#!/usr/bin/env bash
# Makes what a release gives out, in target/release-files: for each processor a static program, which runs on any Linux, and a
# Debian package with it; the Helm chart, where helm is; and the checksums. Each program is tried (packaging/try.sh).
#
#   packaging/release.sh                   for x86-64 and arm64, with the profile dist (fat LTO: some minutes each)
#   packaging/release.sh aarch64-unknown-linux-musl             for these targets only
#   packaging/release.sh --skip-missing    leaves out a target that this machine lacks tools for
#   PROGRAM=target/debug/fileproxy packaging/release.sh         packs a program that is built already, for this machine
#
# What is missing is said before anything is built, with how to get it on Debian. OUT is another folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${OUT:-target/release-files}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
host=$(uname -m)
# The same commit makes the same packages: no file in them is younger than it.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

die() {
    printf 'packaging/release.sh: %s\n' "$*" >&2
    exit 1
}

# Debian's name of a target's processor.
architecture() {
    case "$1" in
        x86_64*) echo amd64 ;;
        aarch64*) echo arm64 ;;
        *) die "unknown processor: $1 (there are x86_64-unknown-linux-musl and aarch64-unknown-linux-musl)" ;;
    esac
}

# The C compiler for a target: ring and mimalloc have C in them.
compiler() {
    if [ "${1%%-*}" = "$host" ]; then echo musl-gcc; else echo "${1%%-*}-linux-gnu-gcc"; fi
}

# What starts a target's programs here: nothing for this machine's own.
emulator() {
    [ "${1%%-*}" = "$host" ] || echo "qemu-${1%%-*}-static"
}

# One line for each thing that a target needs and that is not there.
missing() {
    local target=$1 cc emulator
    cc=$(compiler "$target")
    emulator=$(emulator "$target")
    # The musl of older ones does not know relocations as a bitmap.
    [ "$(rustc --version 2>/dev/null | sed -nE 's/^rustc 1\.([0-9]+).*/\1/p')" -ge 93 ] 2>/dev/null ||
        echo "Rust 1.93 or later: rustup update"
    [ -d "$(rustc --print target-libdir --target "$target" 2>/dev/null)" ] ||
        echo "Rust's library for $target: rustup target add $target"
    if ! command -v "$cc" >/dev/null; then
        case "$cc" in
            musl-gcc) echo "musl-gcc: apt-get install musl-tools" ;;
            *) echo "$cc: apt-get install gcc-${target%%-*}-linux-gnu libc6-dev-$(architecture "$target")-cross" ;;
        esac
    fi
    [ -z "$emulator" ] || command -v "$emulator" >/dev/null ||
        echo "$emulator, to try the program: apt-get install qemu-user-static"
}

build() {
    local target=$1 name settings
    name=$(tr a-z- A-Z_ <<<"$target")
    if [ "${target%%-*}" = "$host" ]; then
        # cargo finds compiler and linker by itself; musl-gcc as the linker would make a program that crashes.
        settings=()
    else
        settings=("CC_${target//-/_}=$(compiler "$target")" "CARGO_TARGET_${name}_LINKER=$(compiler "$target")")
    fi
    # Relocations as a bitmap: 0.5 MB less. Debian 12's linker can do that for x86-64 only.
    case "$target" in
        x86_64*) settings+=("CARGO_TARGET_${name}_RUSTFLAGS=-Clink-arg=-Wl,-z,pack-relative-relocs") ;;
    esac
    env "${settings[@]}" cargo build --profile dist --locked --package fileproxy --target "$target"
}

# Tries a program and puts it and its package into $out.
pack() {
    local program=$1 architecture=$2 emulator=$3
    packaging/try.sh "$program" "$emulator"
    install "$program" "$out/fileproxy-$version-linux-$architecture"
    packaging/deb.sh "$program" "$version" "$architecture" "$out" "$emulator"
}

skip=
if [ "${1:-}" = --skip-missing ]; then
    skip=1
    shift
fi
case "${1:-}" in -*) die "what is $1? packaging/release.sh [--skip-missing] [TARGET...]" ;; esac
for tool in dpkg-deb gzip sha256sum curl; do
    command -v "$tool" >/dev/null || die "$tool is missing"
done

targets=()
if [ -z "${PROGRAM:-}" ]; then
    [ $# -gt 0 ] || set -- x86_64-unknown-linux-musl aarch64-unknown-linux-musl
    lacks=
    for target in "$@"; do
        architecture "$target" >/dev/null
        what=$(missing "$target")
        if [ -z "$what" ]; then
            targets+=("$target")
        else
            printf '%s needs what is not here:\n%s\n' "$target" "$what" >&2
            lacks=1
        fi
    done
    [ -z "$lacks" ] || [ -n "$skip" ] || die "nothing was built; --skip-missing leaves such targets out"
    [ ${#targets[@]} -gt 0 ] || die "no target is left"
fi

mkdir -p "$out"
rm -f "$out"/fileproxy[-_]* "$out/SHA256SUMS"
if [ -n "${PROGRAM:-}" ]; then
    pack "$PROGRAM" "$(architecture "$host")" ""
fi
for target in "${targets[@]}"; do
    build "$target"
    program=target/$target/dist/fileproxy
    ! ldd "$program" 2>/dev/null | grep '=>' >/dev/null || die "$program is not static"
    pack "$program" "$(architecture "$target")" "$(emulator "$target")"
done
if command -v helm >/dev/null; then
    helm package packaging/helm/fileproxy --destination "$out" >/dev/null
else
    echo "left out: the chart, for helm is missing" >&2
fi
(cd "$out" && sha256sum fileproxy[-_]* > SHA256SUMS && cat SHA256SUMS)
