#!/usr/bin/env bash
# Fails if a JVM that ran with -Xcheck:jni logged a warning. Argument: its log
# (-XX:+LogVMOutput); no log means that the tests were skipped.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

log="${1:?usage: check-jni-log.sh LOG}"
[ -f "$log" ] || exit 0
grep -q '<hotspot_log_done' "$log" || fail "the JVM under -Xcheck:jni ended early, see $log"
if grep -nE -A 8 '^(WARNING|FATAL ERROR)' "$log" >&2; then
  fail "-Xcheck:jni found the above, see $log"
fi
