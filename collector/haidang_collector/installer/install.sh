#!/bin/sh
# Hải Đăng: installs, upgrades or removes the agent of this machine. Everything comes from the province's own
# collector; no internet is needed. `sh haidang.sh --help` says more.
set -eu
python=""
for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
    # -I: nothing of the folder this is called in, which may be anybody's.
    if "$candidate" -I -c 'import sys, venv, ssl; sys.exit(sys.version_info < (3, 9, 2))' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$(python3 --version 2>/dev/null || echo none)
    case "${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}" in
    vi*) echo "Hải Đăng: cần Python 3.9.2 trở lên (máy này: $found). Debian, Ubuntu: apt install python3; RHEL: dnf install python3.11" >&2 ;;
    *) echo "Hải Đăng: Python 3.9.2 or later is needed (here: $found). Debian, Ubuntu: apt install python3; RHEL: dnf install python3.11" >&2 ;;
    esac
    exit 1
fi
program=$(mktemp -d)
trap 'rm -rf "$program"' EXIT
trap 'exit 130' INT TERM
mkdir "$program/machine"
@PROGRAM@
"$python" -I -c 'import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module("machine", run_name="__main__")' \
    "$program" --url '@URL@' --fingerprint '@FINGERPRINT@' --released '@RELEASED@' "$@"
