#!/usr/bin/env bash
# Configures and builds the native code with CMake. Arguments are CMake targets:
#   autocircuit        libautocircuit.so
#   jniautocircuit     the JNI library, from the sources that JavaCPP generated
#   autocircuit_tests  the C++ tests, and the next
#   engine_benchmark   see run-engine-benchmark.sh
# Without arguments: everything. With nothing changed, nothing is compiled.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build_dir="${AUTOCIRCUIT_BUILD_DIR:-$PROJECT_DIR/target/native}"
jni_sources="${AUTOCIRCUIT_JNI_SOURCES:-$PROJECT_DIR/target/jni-sources}"
output_dir="${AUTOCIRCUIT_OUTPUT_DIR:-$PROJECT_DIR/target/classes/org/autocircuit/internal/jni/linux-x86_64}"

include="$("$NATIVE_BUILD_DIR/fetch-headers.sh")"
libraries="$("$NATIVE_BUILD_DIR/unpack-libtorch.sh")"

# JavaCPP rewrites its sources each time, in an order that varies from run to run.
mkdir -p "$build_dir/jni"
if [ -f "$jni_sources/jniautocircuit.cpp" ]; then
  python3 "$NATIVE_BUILD_DIR/order_jni.py" "$jni_sources" "$build_dir/jni"
fi

# Only JNI sources need Java.
java_home="${AUTOCIRCUIT_JAVA_HOME:-${JAVA_HOME:-}}"
if [ -z "$java_home" ] && command -v javac >/dev/null; then
  java_home="$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")"
fi
generator=()
if [ ! -f "$build_dir/CMakeCache.txt" ] && command -v ninja >/dev/null; then
  generator=(-G Ninja)
fi
log="$build_dir/configure.log"
if ! cmake -S "$NATIVE_BUILD_DIR" -B "$build_dir" "${generator[@]}" \
  -DTORCH_INCLUDE="$include" -DTORCH_LIBRARIES_DIR="$libraries" \
  -DJAVA_INCLUDE="$java_home/include" -DOUTPUT_DIR="$output_dir" \
  -DOTHER_TORCH="${AUTOCIRCUIT_TORCH_LIBRARIES:-}" \
  -DSANITIZE="${AUTOCIRCUIT_SANITIZE:-}" >"$log" 2>&1; then
  cat "$log" >&2
  fail "cmake could not configure the native build (see $log)"
fi

targets=()
[ $# -eq 0 ] || targets=(--target "$@")
cmake --build "$build_dir" --parallel "${AUTOCIRCUIT_JOBS:-$(nproc)}" "${targets[@]}" ||
  fail "the native code does not compile; the compiler's messages are above"
