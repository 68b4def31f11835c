#!/usr/bin/env bash
# Runs what takes too long for .ci/run, stage by stage with its seconds, on a tree
# that .ci/run has found green: the soak of the leak test, full fuzzing, long
# random sequences of calls, the thread sanitizer, the site with the javadoc, two
# builds from nothing that must give the same classes and library, the jars to
# publish, JSON with the oldest and the newest Jackson, and the C++ tests on a GPU
# where there is one. Continues after a failure; ends with the seconds and the
# result of each stage. Names of stages as arguments run only these.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$PROJECT_DIR"
[ -f pom.xml ] || fail "$PROJECT_DIR is not a checkout of the project: pom.xml is missing"
logs="$PROJECT_DIR/target/release-checks"
mkdir -p "$logs"

results=()
failed=0
only=" $* "
stage() { # name, command
  local name="$1" start="$SECONDS" result=ok
  shift
  [[ "$only" == "  " || "$only" == *" $name "* ]] || return 0
  echo "== $name (log: target/release-checks/$name.log)"
  "$@" >"$logs/$name.log" 2>&1 || {
    result=FAILED
    failed=$((failed + 1))
    tail -n 20 "$logs/$name.log"
  }
  results+=("$(printf '%6d s  %-7s %s' $((SECONDS - start)) "$result" "$name")")
}

java_test() { # class and properties
  local class="$1"
  shift
  mvn -B -ntp test -Dautocircuit.native.skip=true "-Dtest=$class" "$@"
}

# Neither Maven nor javadoc may warn.
site() {
  mvn -B -ntp site | tee "$logs/site-maven.log" && ! grep -E '^\[WARNING\]' "$logs/site-maven.log"
}

# Builds two copies of the committed tree and compares the jar of classes and our own library.
# The JNI library is left out: JavaCPP writes its methods in an order that varies.
reproducible() {
  local work sums=()
  work="$(mktemp -d)"
  for copy in first second; do
    git clone -q --no-hardlinks "$PROJECT_DIR" "$work/$copy"
    (cd "$work/$copy" && mvn -B -ntp -q package -DskipTests)
    sums+=("$(cd "$work/$copy/target" &&
      find . -maxdepth 1 -name 'autocircuit-*.jar' ! -name '*-linux-x86_64.jar' -exec sha256sum {} + && find . -name libautocircuit.so -exec sha256sum {} +)")
    rm -rf "${work:?}/$copy"
  done
  rmdir "$work"
  printf '%s\n' "${sums[@]}"
  [ "${sums[0]}" = "${sums[1]}" ] || fail "two builds of the same tree differ"
}

# The jars of sources and javadoc beside those that mvn verify tests.
published() {
  mvn -B -ntp package -Prelease -DskipTests
  local holds
  for holds in 'sources:org/autocircuit/PatchableModel.java' 'javadoc:org/autocircuit/PatchableModel.html'; do
    jar --list --file "$(echo target/autocircuit-*-"${holds%%:*}".jar)" | grep -qx "${holds#*:}" ||
      fail "the jar of ${holds%%:*} lacks ${holds#*:}"
  done
}

# Compiles and tests all that reads and writes JSON, with the Jackson of Spark 4.0 and LangChain4j.
jackson() {
  local version
  for version in 2.18.6 2.22.1; do
    java_test "$JSON_TESTS" -Djackson.version="$version" || fail "failed with Jackson $version"
  done
}
JSON_TESTS='*Json*Test,CircuitTest,EdgeCountSelectionTest,GgufTest,HuggingFace*Test,ModelFamil*Test'
JSON_TESTS+=',PromptDatasetTest,Safetensors*Test,ShardedWeightsTest,TokenizerTest,UnreadableFoldersTest,*VocabularyTest'

gpu() {
  if [ ! -x native-build/run-device-tests.sh ] || ! nvidia-smi >/dev/null 2>&1; then
    echo "no NVIDIA device here: not run"
    return 0
  fi
  native-build/run-device-tests.sh cuda
}

stage soak java_test LeakTest -Dautocircuit.soak=true
stage fuzz-files java_test MutatedFilesTest -Dautocircuit.fuzz.files=10000
stage fuzz-native native-build/run-fuzzers.sh 60
stage sequences java_test ApiSequenceTest -Dautocircuit.sequences=3000
stage thread-sanitizer native-build/run-sanitizers.sh thread
stage site site
stage reproducible reproducible
stage published published
stage jackson jackson
stage gpu gpu

[ ${#results[@]} -gt 0 ] || fail "no stage is called $*"
printf '%s\n' "${results[@]}"
[ "$failed" = 0 ] || fail "$failed stages failed; their logs are in $logs"
