#!/bin/sh
# Installs everything into the checkout: uv into .tools/, the locked environment into .venv/. Nothing global.
# Where Python was shipped without pip (bare Debian), root gets it from Debian; anybody else is told what to ask for.
set -eu
cd "$(dirname "$0")/.."
say() { printf '%s\n' "setup: $*" >&2; }

PYTHON=${PYTHON:-python3}
command -v "$PYTHON" >/dev/null 2>&1 || { say "no $PYTHON here; install Python 3.11 or newer (Debian: apt-get install python3)"; exit 2; }
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    say "$("$PYTHON" --version) is too old; Ullage needs Python 3.11 or newer (set PYTHON=/path/to/python3.12)"; exit 2; }

stamp=.venv/.ullage-lock
want=$(cat requirements.lock ./*/pyproject.toml tools/setup.sh | cksum)-$("$PYTHON" -c 'import sys; print(sys.version_info[:3])')
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

if [ ! -x .tools/bin/uv ]; then
    say "installing uv into .tools/"
    if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
        if "$PYTHON" -m venv .tools/boot >/dev/null 2>&1; then
            pip_python=.tools/boot/bin/python
        elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            say "this Python has no pip; installing Debian's python3-pip"
            apt-get update -qq && apt-get install -y -qq python3-pip >/dev/null
        else
            say "this Python has neither pip nor venv; ask for: apt-get install python3-pip"; exit 2
        fi
    fi
    "${pip_python:-$PYTHON}" -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
        --target .tools --require-hashes --no-deps -r tools/uv.lock.txt 2>.tools.log || { cat .tools.log >&2; rm -f .tools.log
        say "uv could not be installed: is the package registry reachable?"; exit 2; }
    rm -f .tools.log; rm -rf .tools/boot
fi
say "installing the locked environment into .venv/"
.tools/bin/uv venv --quiet --allow-existing --python "$PYTHON" .venv
.tools/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
.tools/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation \
    -e protocols -e models -e agent -e scorer -e plant
printf '%s' "$want" >"$stamp"
