#!/usr/bin/env bash
# Builds the C++ tests with sanitizers, in a build folder of their own, and runs
# them; no JVM takes part. Without argument, or with `address`: all tests, with
# the address and undefined behaviour sanitizers. With `thread`: the tests of
# contexts, with the thread sanitizer. Further arguments go to ctest, for example
# -R forward_test.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

kind=address
case "${1:-}" in
  address | thread)
    kind="$1"
    shift
    ;;
esac

folder="${AUTOCIRCUIT_SANITIZER_BUILD_DIR:-$PROJECT_DIR/target/native-sanitizers}"
run=()
case "$kind" in
  address)
    export AUTOCIRCUIT_BUILD_DIR="$folder" AUTOCIRCUIT_SANITIZE="address,undefined"
    # LibTorch is not instrumented: a std::vector filled there and read here looks
    # overflowed to the container check. It leaks nothing, so nothing is suppressed.
    export ASAN_OPTIONS="detect_container_overflow=0:detect_leaks=1:strict_string_checks=1:check_initialization_order=1"
    export UBSAN_OPTIONS="print_stacktrace=1"
    ;;
  thread)
    export AUTOCIRCUIT_BUILD_DIR="$folder-thread" AUTOCIRCUIT_SANITIZE="thread"
    export TSAN_OPTIONS="halt_on_error=0:second_deadlock_stack=1"
    # LibTorch is not instrumented, but calls ours: nothing has to be suppressed.
    # Built without OpenMP, which it does not know: the threads are those of callers.
    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    # It wants memory where it expects it, and kernels may spread that too widely.
    run=(setarch "$(uname -m)" -R)
    ;;
esac
"$NATIVE_BUILD_DIR/build.sh" autocircuit_tests

"${run[@]}" ctest --test-dir "$AUTOCIRCUIT_BUILD_DIR" --output-on-failure \
  --parallel "$(nproc)" "$@" ||
  fail "the C++ tests fail under the $kind sanitizer"
