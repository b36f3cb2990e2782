#!/bin/sh
# Makes or updates .venv from a lock file: make_environment.sh runtime|dev. Called by make.
set -eu
lock=requirements/$1.lock

say() { echo "lockstream: $*" >&2; exit 1; }

[ -n "${PYTHON:-}" ] || say 'no Python 3.11 or later found; install one, or name it: make run PYTHON=/path/to/python3'
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || say "$PYTHON is older than Python 3.11; name a newer one: make run PYTHON=/path/to/python3"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null \
    || say "$PYTHON has no venv module; install it (on Debian: apt-get install python3-venv)"

# The dev environment holds the runtime one: do not shrink it for `make run`.
if [ "$1" = runtime ] && [ -e .venv/dev.stamp ] && [ requirements/dev.lock -ot .venv/dev.stamp ]; then
    touch .venv/runtime.stamp
    exit 0
fi

echo "lockstream: installing pinned versions from $lock into .venv" >&2
rm -f .venv/*.stamp
[ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || "$PYTHON" -m venv --clear .venv
.venv/bin/python -m pip install --disable-pip-version-check --progress-bar on \
    --quiet --require-hashes --no-deps -r "$lock" \
    || say 'the packages could not be installed; pip says why above (no network?). Run it again to go on'
.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps \
    --no-build-isolation --editable . || say 'the project itself could not be installed'
touch ".venv/$1.stamp"
