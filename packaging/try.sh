#!/usr/bin/env bash
# Tries a program: packaging/try.sh PROGRAM [EMULATOR]
#
# Its version, its settings, and a file fetched through it from its own origin, both on loopback, byte by byte; then it has to end by
# itself at SIGTERM. EMULATOR (qemu-aarch64-static) starts a program for another processor.
set -euo pipefail

run=(${2:+"$2"} "$(realpath "$1")")
folder=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

die() {
    printf 'packaging/try.sh: %s: %s\n' "${run[*]}" "$*" >&2
    tail -n 20 origin.log proxy.log >&2 2>/dev/null || true
    exit 1
}

# The address that a log tells, once it does: waited for, 30 s at most.
address() {
    local found
    for _ in $(seq 300); do
        found=$(sed -nE "$2" "$1" | head -1)
        [ -z "$found" ] || { echo "$found"; return; }
        sleep 0.1
    done
    return 1
}

"${run[@]}" --version || die "it does not start"
"${run[@]}" check >settings.toml || die "it takes its own defaults for wrong"

"${run[@]}" origin --listen 127.0.0.1:0 >origin.log 2>&1 &
started+=($!)
origin=$(address origin.log 's|.*(127\.0\.0\.1:[0-9]+).*|\1|p') || die "its origin does not serve"

FILEPROXY__SERVER__LISTEN=127.0.0.1:0 FILEPROXY__ADMIN__LOCAL= FILEPROXY__ORIGIN__URL=http://$origin \
    FILEPROXY__SERVER__DRAIN_NOTICE=0s FILEPROXY__LOG__FORMAT=json "${run[@]}" >proxy.log 2>&1 &
proxy=$!
started+=("$proxy")
listen=$(address proxy.log 's|.*"listen":"(127\.0\.0\.1:[0-9]+)".*|\1|p') || die "it does not serve"

file=files/10MB.bin
curl --silent --show-error --fail --max-time 120 "http://$origin/$file" -o sent || die "its origin does not answer"
curl --silent --show-error --fail --max-time 120 "http://$listen/$file" -o got || die "it does not answer"
cmp sent got || die "the file came through with other bytes"
[ "$(wc -c <got)" -eq 10485760 ] || die "the file is not as long as it should be"

kill -TERM "$proxy"
wait "$proxy" || die "it ends with code $? at SIGTERM"
