#!/usr/bin/env bash
# Fails if one of the JVMs that ran with -Xcheck:jni logged a warning that is ours.
# Argument: what the paths of their logs (-XX:+LogVMOutput) begin with; no log means
# that the tests were skipped.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

prefix="${1:-}"
[ -n "$prefix" ] || fail "usage: check-jni-log.sh PREFIX, with which the logs' paths begin"
mapfile -t logs < <(compgen -G "$prefix-*.log")
[ "${#logs[@]}" -gt 0 ] || exit 0
for log in "${logs[@]}"; do
  grep -q '<hotspot_log_done' "$log" || fail "the JVM under -Xcheck:jni ended early, see $log"
done

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
  }' "${logs[@]}"; then
  fail "-Xcheck:jni found the above, see ${logs[*]}"
fi
