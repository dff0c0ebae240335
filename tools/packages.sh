#!/bin/sh
# Installs Debian packages that are missing, as root or with sudo. Where neither can be had it
# says so and goes on: what needs them says what it does without.
set -eu
missing=""
for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "Not a Debian system: install these yourself:$missing" >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null || { [ -t 0 ] && command -v sudo >/dev/null; }; then
    as_root="sudo"
else
    echo "Neither root nor sudo: going on without these packages:$missing" >&2
    exit 0
fi
echo "Installing Debian packages:$missing"
log=$(mktemp)
# RUNLEVEL=1 keeps the packages from starting their services: we run our own copies.
if $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get update -qq >"$log" 2>&1 &&
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends $missing >>"$log" 2>&1; then
    if [ -d /run/systemd/system ]; then
        for package in $missing; do
            case $package in
            prometheus | prometheus-* | snmpd | lldpd | fusioninventory-agent)
                $as_root systemctl disable --quiet --now "$package" 2>/dev/null || true
                ;;
            smokeping) $as_root systemctl disable --quiet --now smokeping exim4 2>/dev/null || true ;;
            bird2) $as_root systemctl disable --quiet --now bird bird6 2>/dev/null || true ;;
            esac
        done
    fi
else
    tail -n 5 "$log" >&2
    echo "These packages could not be installed:$missing. Going on without them" >&2
fi
rm -f "$log"
