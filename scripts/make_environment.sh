#!/bin/sh
# Makes or updates .venv from a lock file: make_environment.sh runtime|dev|bench. Called by make.
# Needs Python >= 3.11 with its venv module; PYTHON names one. pip's own settings apply.
set -eu
wanted=$1
lock=requirements/$wanted.lock
asked_for=${PYTHON:-}

fail() { printf 'lockstream: %s\n' "$*" >&2; exit 1; }

# A stamp is written last and says what the environment was made from: this folder (the
# environment does not survive being moved), the interpreter if one was named, the lock's content.
stamp() { printf '%s\n%s\n' "$PWD" "$2"; cat "requirements/$1.lock"; }
is_complete() {
    [ -x .venv/bin/python ] && [ -f ".venv/$1.stamp" ] || return 1
    made_by=$(sed -n 2p ".venv/$1.stamp")
    [ -z "$asked_for" ] || [ "$asked_for" = "$made_by" ] || return 1
    stamp "$1" "$made_by" | cmp -s - ".venv/$1.stamp"
}

# Each environment holds the one before.
case $wanted in
    runtime) enough='runtime dev bench' ;;
    dev) enough='dev bench' ;;
    bench) enough=bench ;;
    *) fail "there is no environment $wanted" ;;
esac
for level in $enough; do
    if is_complete "$level"; then exit 0; fi
done

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
find_python() {
    for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
        if is_new_enough "$name"; then command -v "$name"; return; fi
    done
}
if [ -n "$asked_for" ]; then
    python=$asked_for
    command -v "$python" >/dev/null || fail "PYTHON=$python: no such program"
    is_new_enough "$python" || fail "PYTHON=$python is not Python 3.11 or later; name a newer one"
else
    python=$(find_python)
    [ -n "$python" ] || fail 'no Python 3.11 or later found: install one (Debian: apt-get install python3 python3-venv), or name it: make run PYTHON=/path/to/python3'
fi
"$python" -c 'import venv, ensurepip' 2>/dev/null \
    || fail "$python has no venv module: install it (Debian: apt-get install python3-venv), or name another Python: make run PYTHON=/path/to/python3"

printf 'lockstream: installing the packages of %s into .venv\n' "$lock" >&2
# Without a stamp, an earlier attempt broke off: nothing in there can be trusted. With one that is
# merely out of date, pip changes what differs.
if is_new_enough .venv/bin/python && [ -z "$asked_for" ] \
    && [ "$(cat .venv/*.stamp 2>/dev/null | sed -n 1p)" = "$PWD" ]; then
    rm -f .venv/*.stamp
else
    rm -rf .venv
    "$python" -m venv .venv || fail "$python could not make .venv; it says why above"
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }
pip install --require-hashes --no-deps -r "$lock" \
    || fail 'the packages could not be installed; pip says why above (no network?)'
# What builds the project came with the lock, so that nothing is fetched unpinned.
pip install --quiet --no-deps --no-build-isolation --editable . \
    || fail 'the project itself could not be installed; pip says why above'
stamp "$wanted" "$asked_for" >".venv/$wanted.stamp.new"
mv ".venv/$wanted.stamp.new" ".venv/$wanted.stamp"
