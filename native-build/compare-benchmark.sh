#!/usr/bin/env bash
# Compares this tree's engine with that of a commit: --help says how.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

show_help() {
  cat <<'HELP'
usage: native-build/compare-benchmark.sh COMMIT [options]

Builds the engine benchmark of this tree, as it lies here, and of COMMIT, in a
git worktree under target/compare, and runs the two in turn. Prints for each row
the median of the ratios new / old of all rounds with their quartiles, so 0.90
is a tenth faster. Ends with exit code 1 if the median of a row is over 1.05, or
over 1.10 where the middle half of the ratios reaches further than 20 % from it.
Rows that only one of the two has are listed, and rows of the machine itself
(sgemm, copy) say how far to trust the others; neither fails.

Both engines are measured by this tree's benchmark, same seeds, same circuits,
where it compiles with that commit's engine; else each by its own.

  --rounds N    pairs of runs, 10 unless given
  --rows TEXT   only rows whose name contains it, e.g. 'circuit, 3 %'
  --threads N   threads, pinned to so many processors; 1 unless given
  --size NAME   4-layer unless given, or gpt2-small, whose rounds take minutes

On two quiet cores a round of all rows takes some ten seconds at four layers.
The worktree and its build stay for the next time.
HELP
}

commit="" rounds=10 rows="" threads=1 size=4-layer
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      show_help
      exit 0
      ;;
    --rounds | --rows | --threads | --size)
      [ $# -gt 1 ] || fail "$1 needs a value (--help says more)"
      declare "${1#--}=$2"
      shift
      ;;
    -*) fail "there is no option $1 (--help says which there are)" ;;
    *)
      [ -z "$commit" ] || fail "expected one commit, got $commit and $1"
      commit="$1"
      ;;
  esac
  shift
done
[ -n "$commit" ] || fail "usage: compare-benchmark.sh COMMIT [--rounds N] [--rows TEXT] [--threads N] [--size NAME] (--help says more)"
[[ "$rounds" =~ ^[1-9][0-9]*$ && "$threads" =~ ^[1-9][0-9]*$ ]] ||
  fail "expected numbers from 1 on for --rounds and --threads, got $rounds and $threads"
case "$size" in
  4-layer | gpt2-small) ;;
  *) fail "there is no size $size: expected 4-layer or gpt2-small" ;;
esac
hash="$(git -C "$PROJECT_DIR" rev-parse --verify --quiet "$commit^{commit}")" ||
  fail "there is no commit $commit"
cpus="$(python3 -c 'import os, sys
cpus = sorted(os.sched_getaffinity(0))
n = int(sys.argv[1])
n <= len(cpus) or sys.exit(f"there are {len(cpus)} processors")
print(",".join(map(str, cpus[:n])))' "$threads" 2>&1)" || fail "--threads $threads: $cpus"

old_tree="$PROJECT_DIR/target/compare/${hash:0:12}"
results="$PROJECT_DIR/target/compare/results"
rm -rf "$results"
mkdir -p "$results"

build() { # tree
  AUTOCIRCUIT_BUILD_DIR="$1/target/native" AUTOCIRCUIT_JNI_SOURCES=none \
    AUTOCIRCUIT_OUTPUT_DIR="$1/target/native/lib" \
    "$1/native-build/build.sh" engine_benchmark
}

git -C "$PROJECT_DIR" worktree prune
[ -e "$old_tree/.git" ] ||
  git -C "$PROJECT_DIR" worktree add --quiet --force --detach "$old_tree" "$hash" ||
  fail "git could not check out $commit in $old_tree"
git -C "$old_tree" checkout --quiet --force "$hash"
git -C "$old_tree" clean --quiet -fd src

echo "Building this tree and $commit (${hash:0:12}) ..." >&2
build "$PROJECT_DIR" >"$results/build-new.log" 2>&1 ||
  fail "this tree's benchmark does not compile, see $results/build-new.log"

# The models that it runs belong to the benchmark.
measured_by="this tree's benchmark"
rm -rf "$old_tree/src/test/cpp/benchmark"
cp -r "$PROJECT_DIR/src/test/cpp/benchmark" "$old_tree/src/test/cpp/benchmark"
cp "$PROJECT_DIR"/src/test/cpp/models.{h,cpp} "$old_tree/src/test/cpp/"
cp "$PROJECT_DIR/native-build/CMakeLists.txt" "$old_tree/native-build/"
if ! build "$old_tree" >"$results/build-old.log" 2>&1; then
  measured_by="each its own benchmark, since this tree's does not compile there"
  git -C "$old_tree" checkout --quiet --force "$hash"
  git -C "$old_tree" clean --quiet -fd src
  build "$old_tree" >"$results/build-old-own.log" 2>&1 ||
    fail "neither this tree's benchmark nor its own compiles with $commit, see $results/build-old.log and build-old-own.log"
fi

export OMP_NUM_THREADS="$threads"
run() { # tree, file
  taskset -c "$cpus" "$1/target/native/engine_benchmark" 5 \
    --size="$size" --rows="$rows" --threads="$threads" >"$2" 2>&1 ||
    fail "the benchmark of $1 failed: $(tail -n 1 "$2")"
}
for round in $(seq "$rounds"); do
  echo "Round $round of $rounds ..." >&2
  run "$PROJECT_DIR" "$results/new.$round"
  run "$old_tree" "$results/old.$round"
done

sed '/^$/,$d' "$results/new.1" # processor, kernels, and whether they are its own
echo "$size, new / old = this tree / $commit, $rounds rounds, $threads thread(s), $measured_by"
python3 "$NATIVE_BUILD_DIR/compare_rows.py" "$results" "$rounds" "$size" "$rows" ||
  exit 1
