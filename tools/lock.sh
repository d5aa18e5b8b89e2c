#!/bin/sh
# Writes requirements.lock anew: every dependency of every member with its hashes, and no addresses.
set -eu
cd "$(dirname "$0")/.."
.tools/bin/uv lock --quiet "$@"
.tools/bin/uv export --quiet --format requirements.txt --all-packages --all-extras --all-groups --no-emit-workspace \
    --no-header --no-annotate >requirements.lock
rm -f uv.lock
