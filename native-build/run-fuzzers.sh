#!/usr/bin/env bash
# Builds the fuzzers of the C++ readers with clang's libFuzzer and sanitizers and
# runs each for so many seconds (10 unless an argument says otherwise). An input
# that takes seconds, or memory that no input of its size justifies, is a
# failure like a crash, and is left in the build folder. Nothing is kept between
# runs. Without libFuzzer nothing is done, unless AUTOCIRCUIT_REQUIRE_LINT=1 makes
# that an error.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds="${1:-10}"
build_dir="$PROJECT_DIR/target/native-fuzzers"
include="$("$NATIVE_BUILD_DIR/fetch-headers.sh")"
libraries="$("$NATIVE_BUILD_DIR/unpack-libtorch.sh")"
flags=(-std=c++20 -O1 -g "-fsanitize=fuzzer,address,undefined" -fno-sanitize-recover=undefined)

mkdir -p "$build_dir"
echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' \
  >"$build_dir/probe.cpp"
if ! clang++ "${flags[@]}" "$build_dir/probe.cpp" -o "$build_dir/probe" 2>"$build_dir/probe.log"; then
  missing="clang with libFuzzer is missing (Debian 12: apt-get install clang libclang-rt-14-dev)"
  [ "${AUTOCIRCUIT_REQUIRE_LINT:-0}" != 1 ] || fail "$missing"
  echo "[WARNING] autocircuit: readers not fuzzed: $missing" >&2
  exit 0
fi

build() { # fuzzer, source of the reader
  clang++ "${flags[@]}" -I "$PROJECT_DIR/src/main/cpp" \
    -isystem "$include" -isystem "$include/torch/csrc/api/include" \
    "$PROJECT_DIR/src/test/cpp/fuzz/$1.cpp" "$PROJECT_DIR/src/main/cpp/autocircuit/model/$2.cpp" \
    "$libraries/libtorch_cpu.so" "$libraries/libc10.so" \
    -Wl,-rpath,"$libraries" -Wl,-rpath-link,"$libraries" -o "$build_dir/$1" ||
    fail "the fuzzer $1 does not compile"
}

# LibTorch is not instrumented: see run-sanitizers.sh.
export ASAN_OPTIONS="detect_container_overflow=0"
run() { # fuzzer
  "$build_dir/$1" -max_total_time="$seconds" -timeout=5 -malloc_limit_mb=64 -max_len=4096 \
    -use_value_profile=1 -artifact_prefix="$build_dir/$1-" >"$build_dir/$1.log" 2>&1 || {
    tail -n 40 "$build_dir/$1.log" >&2
    fail "the fuzzer $1 found an input, named above"
  }
  echo "$1: $(grep -E '^Done [0-9]+ runs' "$build_dir/$1.log")," \
    "$(grep -oE 'cov: [0-9]+' "$build_dir/$1.log" | tail -n 1)"
}

build read_tensors_fuzzer tensor_file &
build description_fuzzer description
wait $!
run read_tensors_fuzzer
run description_fuzzer
