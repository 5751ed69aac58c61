#!/bin/sh
# Makes the virtual environment: finds a Python 3.13, installs uv into it by pip, installs the locked packages.
# Usage: bootstrap.sh FOLDER
set -eu
venv=$1
want=$(cat .python-version)

usable() { "$1" -c "import sys, ensurepip, sqlite3, ssl; sys.exit('%d.%d' % sys.version_info[:2] != '$want')" >/dev/null 2>&1; }

find_python() {
  for candidate in "python$want" python3 python; do
    path=$(command -v "$candidate" 2>/dev/null) || continue
    if usable "$path"; then echo "$path"; return; fi
  done
  for path in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$want"*/bin/python; do
    if usable "$path"; then echo "$path"; return; fi
  done
  if command -v uv >/dev/null 2>&1; then
    path=$(uv python find "$want" 2>/dev/null) || path=$(uv python install -q "$want" 2>/dev/null && uv python find "$want" 2>/dev/null) || return 0
    if usable "$path"; then echo "$path"; fi
  fi
}

python=$(find_python)
if [ -z "$python" ]; then
  echo "Switchyard needs Python $want with venv, and none was found on PATH, in pyenv or by uv: install Python $want and run make again." >&2
  exit 1
fi

echo "Setting up $venv with $("$python" --version) (once; later starts skip this)"
rm -rf "$venv"
"$python" -m venv "$venv" || { echo "Python at $python could not make a virtual environment: install its venv module (Debian: python$want-venv)." >&2; exit 1; }
pinned=$(sed -n 's/^uv==\([^ ;\\]*\).*/uv==\1/p' requirements-dev.txt)
"$venv/bin/python" -m pip install -q --disable-pip-version-check "$pinned" ||
  { echo "pip could not install $pinned: is the package registry within reach?" >&2; exit 1; }
VIRTUAL_ENV=$(pwd)/$venv "$venv/bin/uv" pip install -q --compile-bytecode --require-hashes -r requirements-dev.txt ||
  { echo "The locked packages of requirements-dev.txt could not be installed: the line above says which and why." >&2; exit 1; }
VIRTUAL_ENV=$(pwd)/$venv "$venv/bin/uv" pip install -q --no-deps -e . ||
  { echo "The project itself could not be installed into $venv: the line above says why." >&2; exit 1; }
touch "$venv/.ready"
