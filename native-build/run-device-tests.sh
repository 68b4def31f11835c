#!/usr/bin/env bash
# Builds the C++ tests and the engine benchmark against an installed torch, runs
# them on a device, and ends in a table of times and `N passed, N failed`.
#   run-device-tests.sh DEVICE [TORCH_FOLDER]
# DEVICE: cpu, cuda, cuda:N, or far (src/test/cpp/far_device.h), a device that
# every machine has. TORCH_FOLDER: that of any torch from 2.11 on, as in
# site-packages/torch, with include and lib; without it the presets' LibTorch.
# AUTOCIRCUIT_TEST_FILES names some of the tests' files, e.g. "forward_test".
# Needs g++ 12, cmake, and make or ninja; neither Java nor a network.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

device="${1:-}"
torch="${2:-}"
[[ "$device" =~ ^(cpu|far|cuda(:[0-9]+)?)$ && $# -le 2 ]] ||
  fail "usage: run-device-tests.sh DEVICE [TORCH_FOLDER], DEVICE being cpu, cuda, cuda:N or far"
start="$SECONDS"

for tool in g++ cmake; do
  command -v "$tool" >/dev/null || fail "$tool is missing"
done
command -v ninja >/dev/null || command -v make >/dev/null || fail "neither ninja nor make is there"
gcc_version="$(g++ -dumpversion | cut -d. -f1)"
[ "$gcc_version" -ge 12 ] 2>/dev/null || fail "g++ 12 or newer is needed, this is $gcc_version"

if [ -z "$torch" ]; then
  include="$("$NATIVE_BUILD_DIR/fetch-headers.sh")"
  libraries="$("$NATIVE_BUILD_DIR/unpack-libtorch.sh")"
  export AUTOCIRCUIT_BUILD_DIR="${AUTOCIRCUIT_BUILD_DIR:-$PROJECT_DIR/target/native}"
else
  [ -d "$torch" ] || fail "there is no folder $torch"
  torch="$(cd "$torch" && pwd)"
  include="$torch/include"
  libraries="$torch/lib"
  for file in "$include/ATen/ATen.h" "$include/torch/csrc/autograd/autograd.h" \
    "$libraries/libtorch.so" "$libraries/libtorch_cpu.so" "$libraries/libc10.so"; do
    [ -f "$file" ] || fail "$torch is no torch with headers and libraries: $file is missing"
  done
  [[ "$device" != cuda* ]] || [ -f "$libraries/libtorch_cuda.so" ] ||
    fail "the torch in $torch was built without CUDA: it has no libtorch_cuda.so"
  export AUTOCIRCUIT_TORCH_INCLUDE="$include" AUTOCIRCUIT_TORCH_LIBRARIES="$libraries"
  AUTOCIRCUIT_BUILD_DIR="$PROJECT_DIR/target/device-tests/$(cksum <<<"$torch" | cut -d ' ' -f 1)"
  export AUTOCIRCUIT_BUILD_DIR AUTOCIRCUIT_OUTPUT_DIR="$AUTOCIRCUIT_BUILD_DIR/lib"
fi

# --- one small file, in half a minute ----------------------------------------------
mkdir -p "$AUTOCIRCUIT_BUILD_DIR"
probe="$AUTOCIRCUIT_BUILD_DIR/device_probe"
g++ -std=c++20 -isystem "$include" -isystem "$include/torch/csrc/api/include" \
  "$NATIVE_BUILD_DIR/device_probe.cpp" -Wl,--no-as-needed \
  "$libraries/libtorch.so" "$libraries/libtorch_cpu.so" "$libraries/libc10.so" \
  -Wl,-rpath,"$libraries" -Wl,-rpath-link,"$libraries" -o "$probe" 2>"$probe.log" ||
  fail "a small file does not compile with the torch in ${torch:-$libraries}: $(grep -m 1 -E 'error|undefined|cannot find' "$probe.log" || tail -n 1 "$probe.log")"
# The far device belongs to the tests.
on="${device/far/cpu}"
"$probe" "$on" >"$probe.log" 2>&1 ||
  fail "no device $on with the torch in ${torch:-$libraries}: $(head -n 1 "$probe.log")"

# --- everything -----------------------------------------------------------------
AUTOCIRCUIT_JNI_SOURCES=none \
  "$NATIVE_BUILD_DIR/build.sh" autocircuit_tests engine_benchmark >"$AUTOCIRCUIT_BUILD_DIR/build.log" 2>&1 ||
  fail "the tests do not compile: $(grep -m 1 -E 'error|undefined' "$AUTOCIRCUIT_BUILD_DIR/build.log") (see $AUTOCIRCUIT_BUILD_DIR/build.log)"
echo "Built for $device within $((SECONDS - start)) s; testing ..."

# One file of tests a process, since a device may stop a process for good.
results="$AUTOCIRCUIT_BUILD_DIR/device-results"
rm -rf "$results"
mkdir -p "$results"
read -rd '' -a files <<<"${AUTOCIRCUIT_TEST_FILES:-$(cd "$PROJECT_DIR/src/test/cpp" && echo *_test.cpp)}" || true
export AUTOCIRCUIT_TEST_DEVICE="$device" OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
# shellcheck disable=SC2016  # expanded by the inner shell
printf '%s\n' "${files[@]%.cpp}" | timeout 240 xargs -P "$(nproc)" -I '{}' sh -c \
  '"$0" --file "$1" >"$2/$1" 2>&1 || echo "exit code $?" >>"$2/$1"' \
  "$AUTOCIRCUIT_BUILD_DIR/autocircuit_tests" '{}' "$results" || true

passed=0 failed=0 skipped=0
for file in "${files[@]%.cpp}"; do
  if [[ "$(grep -s '^C++ tests: ' "$results/$file")" =~ ([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    skipped=$((skipped + BASH_REMATCH[3]))
    grep -A 3 '^FAIL' "$results/$file" | cut -c 1-300 || true
  else
    failed=$((failed + 1))
    echo "FAIL $file did not end within four minutes, or crashed: $(tail -n 1 "$results/$file" 2>/dev/null)"
  fi
done
echo "Tests done after $((SECONDS - start)) s, what each printed is in $results"

# Whole passes at both sizes where a device is fast, else what a minute allows.
case "$device" in
  far) benchmark=(0 --device=far) ;;
  cpu) benchmark=(5 --size=4-layer) ;;
  *) benchmark=(20 "--device=$device") ;;
esac
timeout 180 "$AUTOCIRCUIT_BUILD_DIR/engine_benchmark" "${benchmark[@]}" || {
  failed=$((failed + 1))
  echo "FAIL the engine benchmark"
}
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
