#!/usr/bin/env bash
# Builds and runs the benchmark of what edge patching adds to a pass, destination
# step, projection and source write, against the GEMM rate and the copy bandwidth
# of this machine; engine_benchmark.cpp says what its lines mean. An argument says
# how many rounds (20 unless given); 0 only shows that it compiles and runs.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The objects of the usual build are used, and its JNI sources left as they are.
export AUTOCIRCUIT_BUILD_DIR="${AUTOCIRCUIT_BUILD_DIR:-$PROJECT_DIR/target/native}"
AUTOCIRCUIT_JNI_SOURCES=none "$NATIVE_BUILD_DIR/build.sh" engine_benchmark

"$AUTOCIRCUIT_BUILD_DIR/engine_benchmark" "$@" || fail "the engine benchmark failed"
