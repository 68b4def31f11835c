#!/usr/bin/env bash
# Checks that the native build works from a path with spaces and where
# JAVA_TOOL_OPTIONS is set, and that without network and without LibTorch's
# headers it ends with one clear line. What is compiled does not depend on any of
# these, so nothing is compiled.
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
# The caches, too: linked, since they are large.
ln -s "$(dirname "$("$NATIVE_BUILD_DIR/unpack-libtorch.sh")")" "$work/a path with spaces/cache"
env -u AUTOCIRCUIT_BUILD_DIR -u AUTOCIRCUIT_OUTPUT_DIR -u AUTOCIRCUIT_JNI_SOURCES \
  AUTOCIRCUIT_CACHE="$work/a path with spaces/cache" \
  "$project/native-build/build.sh" help >"$work/build.log" 2>&1 ||
  fail "the native build does not configure in a path with spaces: $(cat "$work/build.log")"
[ -f "$project/target/native/CMakeCache.txt" ] ||
  fail "the native build wrote elsewhere than into its project"

JAVA_TOOL_OPTIONS=-Dany=thing "$NATIVE_BUILD_DIR/check-prerequisites.sh" ||
  fail "the check of prerequisites fails where JAVA_TOOL_OPTIONS is set"

# Nobody listens at this address, as without network; pip must not wait for it.
if env -u AUTOCIRCUIT_TORCH_INCLUDE -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL \
  PIP_CONFIG_FILE=/dev/null AUTOCIRCUIT_CACHE="$work/empty" PIP_RETRIES=0 PIP_INDEX_URL=http://127.0.0.1:9/simple \
  "$NATIVE_BUILD_DIR/fetch-headers.sh" \
  >"$work/fetch.out" 2>"$work/fetch.err"; then
  fail "fetch-headers.sh succeeded without network"
fi
[ ! -s "$work/fetch.out" ] || fail "fetch-headers.sh printed a folder without network"
line='^\[ERROR\] autocircuit: could not download .*is the network up\?'
if [ "$(grep -vc '^Fetching ' "$work/fetch.err")" != 1 ] || ! grep -qE "$line" "$work/fetch.err"; then
  fail "without network fetch-headers.sh does not end with one clear line: $(cat "$work/fetch.err")"
fi
[ -z "$(ls "$work/empty")" ] || fail "fetch-headers.sh left something behind: $(ls "$work/empty")"

echo "Native build: a path with spaces works; without network there is one clear line"
