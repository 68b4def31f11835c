#!/usr/bin/env bash
# Compares a GPT-2 folder, and the results of this project on it, with published
# facts: PASS or FAIL for each, and an error if any fails. Needs target/dist
# (mvn package). Usage: check-gpt2.sh FOLDER [FACTS]; the facts are those of
# gpt2-facts.txt unless another file is named.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

folder="${1:-}"
facts="${2:-$NATIVE_BUILD_DIR/gpt2-facts.txt}"
autocircuit="$PROJECT_DIR/target/dist/bin/autocircuit"
# More tokens than any answer's rank.
RANKS=200

[ -d "$folder" ] || fail "name a folder with GPT-2's config.json, model.safetensors and tokenizer.json"
[ -f "$facts" ] || fail "$facts is not there"
[ -x "$autocircuit" ] || fail "$autocircuit is not there; run \`mvn package -DskipTests\` first"

failed=0
say() { # whether it holds (0: yes), what is expected, what came
  if [ "$1" = 0 ]; then
    echo "PASS  $2"
  else
    echo "FAIL  $2: got ${3:-nothing}"
    failed=$((failed + 1))
  fi
}

near() { # value, expected, tolerance
  awk -v a="${1:-nan}" -v b="$2" -v t="$3" 'BEGIN { d = a - b; exit !(a != "nan" && d <= t && d >= -t) }'
}

# The table of the most probable tokens after a prompt; computed once for each prompt.
declare -A tables
table_of() { # prompt
  [ -n "${tables[$1]:-}" ] ||
    tables[$1]="$("$autocircuit" run --model "$folder" --prompt "$1" --top-k "$RANKS" 2>&1 || true)"
}

logit() { # token; of the table in $table
  grep -F " $1 " <<<"$table" | awk '{ print $NF; exit }'
}

graph="$("$autocircuit" graph "$folder" 2>&1 | tr -s ' ' || true)"
while IFS= read -r line; do
  case "$line" in '#'* | '') continue ;; esac
  # No field holds a semicolon with blanks around it.
  mapfile -t field <<<"${line// ; /$'\n'}"
  case "${field[0]}" in
    file)
      size="$(stat -c %s "$folder/${field[1]}" 2>/dev/null || true)"
      sum="$(sha256sum "$folder/${field[1]}" 2>/dev/null | cut -d' ' -f1 || true)"
      holds=0
      { [ "$size" = "${field[2]}" ] && [ "$sum" = "${field[3]}" ]; } || holds=1
      say "$holds" "${field[1]} has ${field[2]} bytes and its checksum" "$size bytes, $sum"
      ;;
    graph)
      holds=0
      grep -qF -- "${field[1]}" <<<"$graph" || holds=1
      say "$holds" "the graph has ${field[1]}" "$(tr '\n' ' ' <<<"$graph" | cut -c1-200)"
      ;;
    top)
      table_of "${field[1]}"
      table="${tables[${field[1]}]}"
      first="$(grep -E '^ +1 ' <<<"$table" || true)"
      probability="$(awk '{ print $(NF - 2) }' <<<"$first")"
      holds=0
      { [[ "$first" == *" ${field[2]} "* ]] && near "$probability" "${field[3]}" "${field[4]}"; } || holds=1
      say "$holds" "${field[2]} follows \"${field[1]}\" with ${field[3]} %" "${first:-$(tail -n 1 <<<"$table")}"
      ;;
    diff)
      table_of "${field[1]}"
      table="${tables[${field[1]}]}"
      answer="$(logit "${field[2]}" || true)"
      wrong="$(logit "${field[3]}" || true)"
      difference="$(awk -v a="$answer" -v b="$wrong" 'BEGIN { if (a != "" && b != "") printf "%.4f", a - b }')"
      holds=0
      near "$difference" "${field[4]}" "${field[5]}" || holds=1
      say "$holds" "${field[2]} is ${field[4]} above ${field[3]} after \"${field[1]}\"" \
        "${difference:-$(tail -n 1 <<<"$table")}"
      ;;
    *) fail "$facts has a line of no known kind: $line" ;;
  esac
done <"$facts"

[ "$failed" = 0 ] || fail "$failed facts do not hold"
