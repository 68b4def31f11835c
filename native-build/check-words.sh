#!/usr/bin/env bash
# Finds words that src/site/markdown/glossary.md replaces, and comments, javadoc
# or lines of documents that open with a noun clause ("What", "Where", "Who",
# "How", "Whether") instead of a verb. Prints each place and fails. Paths that
# words-later.txt names are counted only.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Anywhere: in names, messages, comments and documents.
REPLACED='\banew\b|\bgo(es|ing)? on from\b|\bare none\b|(?<!there )\bis none\b|\bknown run\b|\ball[ -]ones\b|\ball_ones|[aA]llOnes|\ball masks 1\b'
# At the beginning of a comment line; in documents of any line, heading, item or cell.
OPENING='(What|Where|Who|How|Whether)\b'
IN_CODE="^\\s*(/\\*\\*?|\\*|//+|#+)\\s*$OPENING"
IN_DOCUMENTS="^\\s*(#+ |[-*] |\\| )?$OPENING"

cd "$PROJECT_DIR"
mapfile -t later < <(grep -v '^#' "$NATIVE_BUILD_DIR/words-later.txt" || true)

# This script and its list are left out: they have to name the words.
list() { # pattern, then the arguments of find
  local pattern="$1"
  shift
  find "$@" -type f ! -name check-words.sh ! -name words-later.txt ! -path '*/golden/*' -print0 2>/dev/null |
    xargs -0 -r grep -InHP "$pattern" || true
}

found="$(
  {
    list "$REPLACED|$IN_CODE" src/main src/test native-build .ci \( -name '*.java' -o -name '*.cpp' \
      -o -name '*.h' -o -name '*.sh' -o -name '*.py' -o -name '*.js' -o -name '*.txt' -o -name '*.xml' -o -name run \)
    list "$REPLACED|$IN_DOCUMENTS" README.md src/site -name '*.md'
    list "$REPLACED" src/main/cpp src/test/cpp -name '*all_ones*'
  } | sort -u
)"

waiting=0
for path in "${later[@]}"; do
  [ -n "$path" ] || continue
  here="$(grep -cP "^$path" <<<"$found" || true)"
  [ "$here" != 0 ] || fail "$path in words-later.txt holds no such words any more; remove its line"
  waiting=$((waiting + here))
  found="$(grep -vP "^$path" <<<"$found" || true)"
done
[ "$waiting" = 0 ] || echo "[WARNING] autocircuit: $waiting places in the paths of words-later.txt are still to be reworded" >&2
if [ -n "$found" ]; then
  echo "$found" >&2
  fail "$(wc -l <<<"$found") places say it in words that the glossary replaces, or open with a noun clause; begin with a verb"
fi
