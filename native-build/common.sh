# shellcheck shell=bash
# Sourced by the scripts beside it: the pinned versions, the cache folder and one
# way to fail.
# shellcheck disable=SC2034  # used by those that source it

NATIVE_BUILD_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
PROJECT_DIR="$(dirname "$NATIVE_BUILD_DIR")"
# shellcheck source=versions.env
. "$NATIVE_BUILD_DIR/versions.env"

# Outside target/, so that `mvn clean` fetches and unpacks nothing again.
CACHE_DIR="${AUTOCIRCUIT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/autocircuit}"

# One clear line, as Maven prints its own errors, and the end of the script.
fail() {
  echo "[ERROR] autocircuit: $*" >&2
  exit 1
}
