#!/usr/bin/env bash
# Makes a Debian package: packaging/deb.sh PROGRAM VERSION ARCHITECTURE FOLDER [EMULATOR]
#
# It has the program, the units, its user, the settings, man page and completions, which the program itself prints. EMULATOR
# starts a program for another processor. packaging/release.sh calls it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=$1 version=$2 architecture=$3 out=$4 emulator=${5:-}
printer=(${emulator:+"$emulator"} "$program")

tree=$(mktemp -d)
chmod 755 "$tree"
trap 'rm -rf "$tree"' EXIT
install -D "$program" "$tree/usr/bin/fileproxy"
install -D -m 644 settings/base.toml "$tree/etc/fileproxy/base.toml"
for unit in settings/systemd/*; do
    install -D -m 644 "$unit" "$tree/usr/lib/systemd/system/$(basename "$unit")"
done
sed -i 's|/usr/local/bin/fileproxy|/usr/bin/fileproxy|' "$tree/usr/lib/systemd/system/fileproxy.service"
install -d "$tree/usr/lib/sysusers.d" "$tree/usr/share/man/man1" "$tree/usr/share/doc/fileproxy" \
    "$tree/usr/share/bash-completion/completions" "$tree/usr/share/zsh/vendor-completions" \
    "$tree/usr/share/fish/vendor_completions.d"
echo 'u fileproxy - "fileproxy" - -' > "$tree/usr/lib/sysusers.d/fileproxy.conf"
"${printer[@]}" man | gzip -9n > "$tree/usr/share/man/man1/fileproxy.1.gz"
"${printer[@]}" completions bash > "$tree/usr/share/bash-completion/completions/fileproxy"
"${printer[@]}" completions zsh > "$tree/usr/share/zsh/vendor-completions/_fileproxy"
"${printer[@]}" completions fish > "$tree/usr/share/fish/vendor_completions.d/fileproxy.fish"
gzip -9n < CHANGELOG.md > "$tree/usr/share/doc/fileproxy/changelog.gz"
install -m 644 LICENSE "$tree/usr/share/doc/fileproxy/copyright"
install -m 644 settings/alerts.yml settings/grafana-dashboard.json "$tree/usr/share/doc/fileproxy/"

install -d "$tree/DEBIAN"
echo /etc/fileproxy/base.toml > "$tree/DEBIAN/conffiles"
cat > "$tree/DEBIAN/control" <<CONTROL
Package: fileproxy
Version: $version
Architecture: $architecture
Maintainer: fileproxy maintainers <maintainers@example.invalid>
Section: net
Priority: optional
Installed-Size: $(du -sk "$tree/usr" | cut -f1)
Depends: $(if ldd "$program" 2>/dev/null | grep libc.so >/dev/null; then echo "libc6, libgcc-s1, "; fi)ca-certificates
Description: reverse proxy for files that keeps delivering when the network is bad
 It stands between clients and an origin that has files: video segments, downloads,
 large static objects. It mends bodies that break, stores what HTTP lets it store,
 protects the origin, and shows its operator why it does what it does.
CONTROL
# The user, and the units for systemd to see. The service is started by whoever has set the origin.
cat > "$tree/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers fileproxy.conf
    elif ! getent passwd fileproxy >/dev/null; then
        useradd --system --no-create-home --shell /usr/sbin/nologin fileproxy
    fi
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        # After an update: the new program takes the sockets over.
        systemctl try-restart fileproxy.service
    fi
fi
SCRIPT
cat > "$tree/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop fileproxy.service fileproxy.socket fileproxy-admin.socket || true
fi
SCRIPT
chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm"

dpkg-deb --root-owner-group --build "$tree" "$out/fileproxy_${version}_$architecture.deb" >/dev/null
