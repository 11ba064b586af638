#!/bin/sh
# Create the virtual environment that the reference scripts run in, with pinned versions.
#
#   scripts/setup_python.sh            create it, or bring it up to date; prints its Python
#   scripts/setup_python.sh --check    only say whether it is there; exit status 1 when it is not
#
# It lies in ${PROBADOR_CACHE:-${XDG_CACHE_HOME:-~/.cache}/probador}/venv and takes about 3 GB (PyTorch). Only
# the reference scripts need it: building, testing and using the project do not. Running it again does
# nothing unless requirements.txt changed. Needs Python 3.10 or newer with venv and pip; PYTHON picks which.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/requirements.txt
cache=${PROBADOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/probador}
environment=$cache/venv
stamp=$environment/requirements.installed
python=${PYTHON:-python3}

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 1
}

is_current() {
    [ -x "$environment/bin/python" ] && cmp -s "$requirements" "$stamp"
}

case ${1:-} in
    "") ;;
    --check)
        is_current && exit 0
        fail "the reference environment \`$environment\` is missing or out of date" "run scripts/setup_python.sh"
        ;;
    -h | --help)
        sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) fail "unknown argument \`$1\`" "run scripts/setup_python.sh --help" ;;
esac

if ! is_current; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        fail "\`$python\` is not Python 3.10 or newer" "set PYTHON to one that is"
    if [ ! -x "$environment/bin/python" ]; then
        echo "creating $environment" >&2
        mkdir -p "$cache"
        "$python" -m venv "$environment" ||
            fail "cannot create \`$environment\`" "install venv and pip (Debian: apt-get install python3-venv)"
    fi
    echo "installing requirements.txt; PyTorch makes this take a few minutes" >&2
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" >&2 ||
        fail "pip could not install \`$requirements\`" "check the network and pip's index settings"
    cp "$requirements" "$stamp.tmp"
    mv "$stamp.tmp" "$stamp"
fi
echo "$environment/bin/python"
