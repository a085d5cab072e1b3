# Sourced by scripts/demo and scripts/test: `cineloop_env demo` or `cineloop_env test` makes ready the environment of
# this checkout (.venv) and says nothing when it already is. The folder .venv belongs to these scripts.
#
# Resumable: a set-up that was cut short leaves .venv/cineloop-begun behind; the next call builds the environment
# again, from the downloads that were finished (uv and pip keep them in their caches).
# Repeatable: versions come from requirements.lock; its hash, and the place of the checkout, stand in a stamp file.
#
# CINELOOP_PYTHON names the Python (>= 3.11) to build with; without it the first one found is taken.
# UV_TORCH_BACKEND=cpu, which uv reads, takes torch's CPU builds where their index can be reached.
# CINELOOP_NO_SETUP=1 sets nothing up: the commands on PATH are used as they are.

cineloop_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cineloop_venv=$cineloop_root/.venv

_cineloop_say() { printf 'setup: %s\n' "$*" >&2; }

_cineloop_python() {
  local candidate
  for candidate in ${CINELOOP_PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      command -v "$candidate"
      return 0
    fi
  done
  _cineloop_say "no Python >= 3.11 found; install one, or name it: CINELOOP_PYTHON=/path/to/python3.11 $0"
  return 5
}

_cineloop_create() {
  local python
  python=$(_cineloop_python) || return 5
  mkdir -p "$cineloop_venv" && touch "$cineloop_venv/cineloop-begun"
  _cineloop_say "environment in .venv, $("$python" --version 2>&1)"
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --allow-existing --python "$python" "$cineloop_venv"
  elif ! "$python" -m venv "$cineloop_venv"; then
    _cineloop_say "'$python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv"
    return 5
  fi
}

_cineloop_uv() { # the path of a uv to install with; fails where there is none and none can be had
  command -v uv 2>/dev/null && return 0
  [ -x "$cineloop_venv/bin/uv" ] ||
    "$cineloop_venv/bin/python" -m pip install --quiet -c "$cineloop_root/requirements.lock" uv >&2 || return 1
  echo "$cineloop_venv/bin/uv"
}

_cineloop_install() { # $1: what to install, such as /checkout[dev]
  local uv
  # uv does not read pip's settings: where an index is set for pip alone, uv is told of it.
  [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}
  if uv=$(_cineloop_uv) && "$uv" pip install --python "$cineloop_venv/bin/python" --compile-bytecode \
    -c "$cineloop_root/requirements.lock" -e "$1" >&2; then
    return 0
  fi
  _cineloop_say "uv did not manage; trying pip"
  "$cineloop_venv/bin/python" -m pip --version >/dev/null 2>&1 || "$cineloop_venv/bin/python" -m ensurepip >&2
  "$cineloop_venv/bin/python" -m pip install -c "$cineloop_root/requirements.lock" -e "$1" >&2
}

cineloop_env() {
  [ -z "${CINELOOP_NO_SETUP:-}" ] || return 0
  local level=$1 extras stamp other
  case "$level" in
    demo) extras="[eval]" ;;
    test) extras="[train,eval,t2v,serve,cluster,dev]" ;;
    *) _cineloop_say "no such level: $level" && return 2 ;;
  esac
  stamp="$cineloop_root $(cat "$cineloop_root/pyproject.toml" "$cineloop_root/requirements.lock" | cksum)"
  # One set-up at a time in a checkout; the lock is on a file that is there anyway.
  exec 9<"$cineloop_root/pyproject.toml"
  if command -v flock >/dev/null 2>&1; then flock 9; fi
  for other in "$level" test; do
    if [ -x "$cineloop_venv/bin/python" ] && [ "$(cat "$cineloop_venv/cineloop-$other" 2>/dev/null)" = "$stamp" ]; then
      exec 9<&-
      return 0
    fi
  done
  if [ -e "$cineloop_venv/cineloop-begun" ]; then
    _cineloop_say "an earlier set-up was cut short; building .venv again"
    rm -rf "$cineloop_venv"
  fi
  if ! "$cineloop_venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    rm -rf "$cineloop_venv"
    _cineloop_create || return
  fi
  touch "$cineloop_venv/cineloop-begun"
  _cineloop_say "installing the locked packages ($level); a first time downloads some gigabytes, mostly torch"
  _cineloop_install "$cineloop_root$extras" || return 5
  printf '%s\n' "$stamp" >"$cineloop_venv/cineloop-$level"
  rm -f "$cineloop_venv/cineloop-begun"
  exec 9<&-
}
