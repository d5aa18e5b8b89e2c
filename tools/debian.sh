#!/bin/sh
# Debian packages that tests use: installed when root, named otherwise (their tests then say what was skipped).
set -eu
missing=
for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "not Debian: install yourself what matches:$missing" >&2
elif [ "$(id -u)" != 0 ]; then
    echo "some tests need Debian packages; as root run: apt-get install$missing" >&2
else
    echo "installing$missing" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
