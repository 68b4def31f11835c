#!/usr/bin/env bash
# Builds the C++ tests with the address and undefined behaviour sanitizers, in a
# build folder of their own, and runs them. No JVM takes part. Arguments go to
# ctest, for example -R patch_test.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export AUTOCIRCUIT_BUILD_DIR="${AUTOCIRCUIT_SANITIZER_BUILD_DIR:-$PROJECT_DIR/target/native-sanitizers}"
AUTOCIRCUIT_SANITIZE=ON "$NATIVE_BUILD_DIR/build.sh" autocircuit_tests

# LibTorch is not instrumented: a std::vector filled there and read here looks
# overflowed to the container check. It leaks nothing, so nothing is suppressed.
export ASAN_OPTIONS="detect_container_overflow=0:detect_leaks=1:strict_string_checks=1:check_initialization_order=1"
export UBSAN_OPTIONS="print_stacktrace=1"
ctest --test-dir "$AUTOCIRCUIT_BUILD_DIR" --output-on-failure "$@" ||
  fail "the C++ tests fail under the sanitizers"
