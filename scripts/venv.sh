#!/bin/sh
# A virtual environment in $1, made by the Python named in $PYTHON. Without that, by the distribution's own where it is new
# enough: it is built with every optimisation, which one compiled by hand often is not, and kept up to date. Debian keeps
# two things that this needs in packages of their own: Python's venv module, and the library libatomic that the policy
# engine is linked with. They are installed here when we are root, and asked for otherwise.
set -eu
venv=$1

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

python=${PYTHON:-}
if [ -z "$python" ]; then
    python=python3
    if new_enough /usr/bin/python3 && { has_venv /usr/bin/python3 || can_install; }; then python=/usr/bin/python3; fi
fi
new_enough "$python" || {
    echo "Python 3.11 or newer is needed; $python is $("$python" -V 2>&1). Name another one: make PYTHON=python3.12" >&2
    exit 1
}
missing=""
has_venv "$python" || missing="$missing python3-venv"
"$python" -c 'import ctypes; ctypes.CDLL("libatomic.so.1")' 2>/dev/null || missing="$missing libatomic1"
if [ -n "$missing" ] && can_install; then
    echo "installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # package names are words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing ca-certificates >/dev/null 2>&1
elif [ -n "$missing" ]; then
    echo "Missing:$missing. Install with: sudo apt-get install$missing" >&2
    exit 1
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
