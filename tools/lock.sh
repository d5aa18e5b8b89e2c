#!/bin/sh
# Writes the locks anew: every dependency with its hashes, and no addresses. One for the workspace, one an image.
set -eu
cd "$(dirname "$0")/.."
export_to() {
    out=$1
    shift
    .tools/bin/uv export --quiet --format requirements.txt --no-emit-workspace --no-header --no-annotate "$@" >"$out"
}
.tools/bin/uv lock --quiet "$@"
export_to requirements.lock --all-packages --all-extras --all-groups
export_to docker/agent.lock --package ullage-agent --extra opcua --no-default-groups
export_to docker/scorer.lock --package ullage-scorer --no-default-groups
rm -f uv.lock
