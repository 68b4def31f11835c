#!/usr/bin/env bash
# Fails if a JVM that ran with -Xcheck:jni logged a warning that is ours.
# Argument: its log (-XX:+LogVMOutput); no log means that the tests were skipped.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

log="${1:?usage: check-jni-log.sh LOG}"
[ -f "$log" ] || exit 0
grep -q '<hotspot_log_done' "$log" || fail "the JVM under -Xcheck:jni ended early, see $log"

# A warning is followed by its stack. Its owner is the first class that is not
# the JDK's; the tokenizer's own native code (ai.djl, through com.sun.jna) warns
# often, and is not ours to mend.
if ! awk '
  function finish() {
    if (block == "") return
    if (owner ~ /^(ai\.djl|com\.sun\.jna)\./) foreign++
    else { ours++; printf "%s", block > "/dev/stderr" }
    block = ""
  }
  /^(WARNING|FATAL ERROR)/ { finish(); block = $0 "\n"; owner = ""; next }
  block != "" && /^\t/ {
    block = block $0 "\n"
    if (owner == "" && $1 == "at" && $2 !~ /^(java|jdk|sun)\./) owner = $2
    next
  }
  { finish() }
  END {
    finish()
    printf "-Xcheck:jni: %d warnings of ours, %d of the tokenizer library\n", ours, foreign
    exit ours > 0
  }' "$log"; then
  fail "-Xcheck:jni found the above, see $log"
fi
