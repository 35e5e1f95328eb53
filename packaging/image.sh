#!/usr/bin/env bash
# Makes an image of a static program: packaging/image.sh PROGRAM NAME [PLATFORM]
#
#   packaging/image.sh target/release-files/fileproxy-0.1.0-linux-amd64 fileproxy:0.1.0
#   packaging/image.sh target/release-files/fileproxy-0.1.0-linux-arm64 fileproxy:0.1.0-arm64 linux/arm64
#
# Nothing is pulled: all that the image has is the program, its settings, and the certificates that https origins are verified
# with, those of this machine (CERTIFICATES: another file). For another platform than this machine's, docker has to have BuildKit
# (its plugin buildx). FOLDER=name only makes that folder, and no image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=$1 name=$2 platform=${3:-}
certificates=${CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}

die() {
    printf 'packaging/image.sh: %s\n' "$*" >&2
    exit 1
}

[ -r "$certificates" ] || die "$certificates is missing: apt-get install ca-certificates, or set CERTIFICATES"
# grep reads to the end: where it left at once (-q), ldd could fail, and with it the whole.
! ldd "$program" 2>/dev/null | grep '=>' >/dev/null || die "$program needs libraries, which the image has not: packaging/release.sh makes a static one"

folder=${FOLDER:-}
if [ -z "$folder" ]; then
    command -v docker >/dev/null || die "docker is missing"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder" "$folder.Dockerfile"' EXIT
fi
install -D -m 755 "$program" "$folder/usr/local/bin/fileproxy"
install -D -m 644 "$certificates" "$folder/etc/ssl/certs/ca-certificates.crt"
install -D -m 644 settings/base.toml "$folder/app/settings/base.toml"
install -d -m 1777 "$folder/tmp"
[ -z "${FOLDER:-}" ] || exit 0
# The image is the one that the Dockerfile in the root makes: its last stage, with the folder in place of what is built there.
sed -n '/^FROM scratch$/,$p' Dockerfile | sed 's|^COPY --from=builder /image /$|COPY / /|' >"$folder.Dockerfile"
docker build ${platform:+--platform "$platform"} --file "$folder.Dockerfile" --tag "$name" "$folder"
