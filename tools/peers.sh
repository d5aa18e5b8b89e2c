#!/bin/sh
# Installs the peers that tests/peers runs against, none of them written here, each apart from the others: a virtual
# environment for every Python peer, one npm folder, Debian's packages for the rest. All under .peers/ in the checkout.
set -eu
cd "$(dirname "$0")/.."
say() { printf '%s\n' "peers: $*" >&2; }

tools/debian.sh socat tshark mbpoll libmodbus-dev stunnel4 gcc libc6-dev
command -v npm >/dev/null 2>&1 || tools/debian.sh nodejs npm

mkdir -p .peers
for lock in tests/peers/locks/*.txt; do
    peer=$(basename "$lock" .txt)
    home=.peers/$peer
    cmp -s "$lock" "$home/installed.txt" && continue
    say "installing $peer"
    .tools/bin/uv venv --quiet --allow-existing --python .venv/bin/python "$home"
    .tools/bin/uv pip sync --quiet --python "$home/bin/python" --require-hashes "$lock"
    cp "$lock" "$home/installed.txt"
done

home=.peers/npm
if ! cmp -s tests/peers/npm/package-lock.json "$home/installed.json"; then
    say "installing the npm peers"
    mkdir -p "$home"
    cp tests/peers/npm/package.json tests/peers/npm/package-lock.json "$home/"
    (cd "$home" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
    cp tests/peers/npm/package-lock.json "$home/installed.json"
fi
