#!/bin/sh
# Makes the virtual environment with the project and everything its tests need.
set -eu
python=${1:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Python 3.11 or later is needed (PYTHON=... names another one)" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    sh tools/packages.sh python3-venv
fi
echo "Making the virtual environment in .venv (a minute the first time)"
[ -x .venv/bin/pip ] || "$python" -m venv --clear .venv
# What the lock names and nothing else; then the project itself, by the tools of the lock.
.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/developer.txt
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
touch .venv/.installed
