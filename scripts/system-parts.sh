#!/bin/sh
# Real parts that tests use and that are system packages: installed when we are root, otherwise named in one line with the
# command that would bring them. Each argument is COMMAND:PACKAGE.
set -eu
missing=""
for part in "$@"; do
    command -v "${part%%:*}" >/dev/null 2>&1 || missing="$missing ${part##*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # package names are words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1
else
    echo "skipped without$missing; to run them: sudo apt-get install$missing"
fi
