#!/usr/bin/env bash
# Runs what takes too long for .ci/run, stage by stage with its seconds, on a tree
# that .ci/run has found green: the soak of the leak test, full fuzzing, long
# random sequences of calls, the thread sanitizer, the site with the javadoc, two
# builds from nothing that must give the same jars, the jars to publish, JSON with
# the oldest and the newest Jackson, and the C++ tests on a GPU where there is one.
# Continues after a failure; ends with the seconds and the result of each stage.
# Names of stages as arguments run only these.
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

# Builds two copies of the committed tree in folders of different depth, the second
# without ccache: all jars must be equal, and no library may name a folder of this machine.
reproducible() {
  local work sums=() found
  work="$(mktemp -d)"
  for copy in first second/deeper; do
    git clone -q --no-hardlinks "$PROJECT_DIR" "$work/$copy"
    [ "$copy" = first ] || export CCACHE_DISABLE=1
    (cd "$work/$copy" && mvn -B -ntp -q package -DskipTests)
    sums+=("$(cd "$work/$copy/target" &&
      find . -maxdepth 1 -name 'autocircuit-*.jar' -exec sha256sum {} + | sort && find . -name 'lib*autocircuit.so' -exec sha256sum {} + | sort)")
    found="$(find "$work/$copy/target/classes" -name '*.so' -exec strings {} + | grep -F -e "$work" -e "$CACHE_DIR" || true)"
    [ -z "$found" ] || fail "a native library names folders of this machine: $(head -n 3 <<<"$found")"
    rm -rf "${work:?}/$copy"
  done
  unset CCACHE_DISABLE
  rm -rf "$work"
  printf '%s\n' "${sums[@]}"
  [ "${sums[0]}" = "${sums[1]}" ] || fail "two builds of the same tree differ"
}

# The jars of sources and javadoc and the bill of materials, beside the jars that mvn
# verify tests. Properties of the publisher are demanded; nothing is signed or published.
published() {
  local holds property log="$logs/release-properties.log"
  local properties=(-Drelease.url=https://example.org/autocircuit -Drelease.developer=Somebody
    -Drelease.email=somebody@example.org -Drelease.key=0123ABCD)
  ! mvn -B -ntp -q validate -Prelease -Dautocircuit.native.skip=true >"$log" 2>&1 || fail "a release without properties is let through"
  for property in url developer email key; do
    grep -q "release\.$property" "$log" || fail "nobody asks for release.$property"
  done
  mvn -B -ntp package -Prelease -DskipTests "${properties[@]}"
  for holds in 'sources:org/autocircuit/PatchableModel.java' 'javadoc:org/autocircuit/PatchableModel.html'; do
    jar --list --file "$(echo target/autocircuit-*-"${holds%%:*}".jar)" | grep -qx "${holds#*:}" ||
      fail "the jar of ${holds%%:*} lacks ${holds#*:}"
  done
  grep -q '"pkg:maven/org.bytedeco/pytorch@' target/autocircuit-*-cyclonedx.json || fail "the bill of materials lacks LibTorch"
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
