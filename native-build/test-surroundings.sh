#!/usr/bin/env bash
# Checks that the native build works from a path with spaces and where
# JAVA_TOOL_OPTIONS is set, and that each script, from another folder, in an empty
# home and without network, succeeds or ends with one clear line. What is compiled
# does not depend on any of these, so nothing is compiled.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

project="$work/a path with spaces/auto circuit"
mkdir -p "$project/src/main" "$project/src/test"
cp -r "$NATIVE_BUILD_DIR" "$project/native-build"
cp -r "$PROJECT_DIR/src/main/cpp" "$project/src/main/cpp"
cp -r "$PROJECT_DIR/src/test/cpp" "$project/src/test/cpp"
cp -r "$PROJECT_DIR/.clang-format" "$PROJECT_DIR/.ci" "$project/"
cp -r "$PROJECT_DIR/src/main/launcher" "$project/src/main/launcher"
# The caches, too: linked, since they are large.
libraries="$("$NATIVE_BUILD_DIR/unpack-libtorch.sh")"
ln -s "$(dirname "$libraries")" "$work/a path with spaces/cache"
env -u AUTOCIRCUIT_BUILD_DIR -u AUTOCIRCUIT_OUTPUT_DIR -u AUTOCIRCUIT_JNI_SOURCES \
  AUTOCIRCUIT_CACHE="$work/a path with spaces/cache" \
  "$project/native-build/build.sh" help >"$work/build.log" 2>&1 ||
  fail "the native build does not configure in a path with spaces: $(cat "$work/build.log")"
[ -f "$project/target/native/CMakeCache.txt" ] ||
  fail "the native build wrote elsewhere than into its project"

JAVA_TOOL_OPTIONS=-Dany=thing "$NATIVE_BUILD_DIR/check-prerequisites.sh" ||
  fail "the check of prerequisites fails where JAVA_TOOL_OPTIONS is set"

# Nobody listens at this address, as without network; pip must not wait for it.
alone() { # script; where the tools are is all it is told
  mkdir -p "$work/home"
  (cd / && env -i PATH="$PATH" HOME="$work/home" \
    PIP_CONFIG_FILE=/dev/null PIP_RETRIES=0 PIP_INDEX_URL=http://127.0.0.1:9/simple \
    "$project/native-build/$1" >"$work/alone.out" 2>"$work/alone.err")
}

if alone fetch-headers.sh; then
  fail "fetch-headers.sh succeeded without network"
fi
[ ! -s "$work/alone.out" ] || fail "fetch-headers.sh printed a folder without network"
line='^\[ERROR\] autocircuit: could not download .*is the network up\?'
if [ "$(grep -vc '^Fetching ' "$work/alone.err")" != 1 ] || ! grep -qE "$line" "$work/alone.err"; then
  fail "without network fetch-headers.sh does not end with one clear line: $(cat "$work/alone.err")"
fi
[ -z "$(ls "$work/home/.cache/autocircuit")" ] ||
  fail "fetch-headers.sh left something behind: $(ls "$work/home/.cache/autocircuit")"

rm -rf "$project/target"
for script in "$project"/native-build/*.sh; do
  name="$(basename "$script")"
  # One is sourced by the others, the other is this one.
  case "$name" in common.sh | test-surroundings.sh) continue ;; esac
  alone "$name" && continue
  errors="$(grep -v '^Fetching ' "$work/alone.err" || true)"
  [[ "$errors" =~ ^\[ERROR\]\ autocircuit:\ [^[:cntrl:]]+$ ]] ||
    fail "$name, alone in an empty home, ends without one clear line: '$errors'"
done

echo "Native build: a path with spaces works; each script alone succeeds or ends with one clear line"
