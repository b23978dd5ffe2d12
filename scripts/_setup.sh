# Sourced by scripts/train and scripts/test: makes .venv and installs the project from the pinned
# constraints. A stamp of the files that decide the installation lets a second run start at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

ensure_installed() { # extras, such as "plot" or "dev"
    local stamp=.venv/.installed-$1
    local wanted
    wanted=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "error: $("$python" --version) found, Python 3.11 or later is needed. Set PYTHON=python3.11." >&2
        exit 3
    }
    echo "Installing mtrl[$1] into .venv (once, a few minutes)..." >&2
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable ".[$1]" >&2
    echo "$wanted" >"$stamp"
}
