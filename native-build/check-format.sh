#!/usr/bin/env bash
# Checks the C++ sources with clang-format and the scripts with shellcheck; with
# --fix it formats the C++ sources instead. A tool that is missing is named and
# left out, unless AUTOCIRCUIT_REQUIRE_LINT=1 (as in CI) makes that an error.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Other versions format a little differently, so one is agreed on.
CLANG_FORMAT_VERSION=14

missing() {
  [ "${AUTOCIRCUIT_REQUIRE_LINT:-0}" != 1 ] || fail "$*"
  echo "[WARNING] autocircuit: $*" >&2
}

clang_format="$(command -v "clang-format-$CLANG_FORMAT_VERSION" || command -v clang-format || true)"
mapfile -t sources < <(find "$PROJECT_DIR/src/main/cpp" "$PROJECT_DIR/src/test/cpp" \
  "$NATIVE_BUILD_DIR" -name '*.h' -o -name '*.cpp')
if [ -z "$clang_format" ] || ! "$clang_format" --version | grep -q "version $CLANG_FORMAT_VERSION\."; then
  missing "C++ format not checked: clang-format $CLANG_FORMAT_VERSION is missing (Debian 12: apt-get install clang-format)"
elif [ "${1:-}" = --fix ]; then
  "$clang_format" -i "${sources[@]}"
else
  "$clang_format" --dry-run -Werror "${sources[@]}" ||
    fail "the C++ sources are not formatted; run native-build/check-format.sh --fix"
fi

if command -v shellcheck >/dev/null; then
  shellcheck -x -P "$NATIVE_BUILD_DIR" "$NATIVE_BUILD_DIR"/*.sh "$PROJECT_DIR"/.ci/run \
    "$PROJECT_DIR"/src/main/launcher/autocircuit || fail "shellcheck found the above"
else
  missing "scripts not checked: shellcheck is missing (Debian: apt-get install shellcheck)"
fi
