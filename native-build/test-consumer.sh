#!/usr/bin/env bash
# Installs the two packaged jars into a temporary Maven repository and compiles
# and runs projects against them, with no C++ compiler on the PATH and with
# caches of its own; then holds what they brought along to their
# dependencies.txt, where they have one. The user's repository serves as a
# read-only source of everything else. Run mvn package first.
# Usage: test-consumer.sh [FOLDER...]; src/test/consumer and src/test/samples/http
# if none is named.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

maven="${AUTOCIRCUIT_MAVEN:-$(command -v mvn)}"
version="${AUTOCIRCUIT_VERSION:-0.1.0-SNAPSHOT}"
user_repository="${AUTOCIRCUIT_MAVEN_REPOSITORY:-${HOME:-}/.m2/repository}"
java_home="${AUTOCIRCUIT_JAVA_HOME:-${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")}}"

projects=("$@")
[ "${#projects[@]}" -gt 0 ] || projects=(src/test/consumer src/test/samples/http)
options=()
[ -z "${AUTOCIRCUIT_LANGCHAIN4J_VERSION:-}" ] || options+=("-Dlangchain4j.version=$AUTOCIRCUIT_LANGCHAIN4J_VERSION")

work="$PROJECT_DIR/target/consumer"
rm -rf "$work"
# The jars and libraries unpacked here take 700 MB; the log is enough.
trap 'rm -rf "$work/local" "$work/javacpp" "$work/tools"' EXIT

installed="$work/repository/org/autocircuit/autocircuit/$version"
mkdir -p "$installed" "$work/tools"
for suffix in .jar -linux-x86_64.jar; do
  cp "$PROJECT_DIR/target/autocircuit-$version$suffix" "$installed/" 2>/dev/null ||
    fail "target/autocircuit-$version$suffix is missing; run mvn package"
done
# Each jar says under which licence it is, and whose else it holds.
for suffix in .jar -linux-x86_64.jar; do
  held="$("$java_home/bin/jar" --list --file "$installed/autocircuit-$version$suffix")"
  for file in META-INF/LICENSE META-INF/NOTICE META-INF/licenses/libtorch.txt; do
    grep -qx "$file" <<<"$held" || fail "autocircuit-$version$suffix lacks $file"
  done
done
cp "$PROJECT_DIR/pom.xml" "$installed/autocircuit-$version.pom"

repository() { # tag, id, folder
  echo "<$1><id>$2</id><url>file://$3</url><releases><checksumPolicy>ignore</checksumPolicy></releases>"
  echo "<snapshots><enabled>true</enabled><checksumPolicy>ignore</checksumPolicy></snapshots></$1>"
}
cat >"$work/settings.xml" <<SETTINGS
<settings>
  <localRepository>$work/local</localRepository>
  <profiles><profile><id>consumer</id>
    <repositories>
      $(repository repository installed "$work/repository")
      $(repository repository user "$user_repository")
    </repositories>
    <pluginRepositories>
      $(repository pluginRepository user "$user_repository")
    </pluginRepositories>
  </profile></profiles>
  <activeProfiles><activeProfile>consumer</activeProfile></activeProfiles>
</settings>
SETTINGS

# Only what Maven's own start script uses, and the clients of servers: neither
# g++ nor cmake nor python3.
for tool in sh bash dirname basename uname ls expr readlink sed grep cat tr cut which curl; do
  path="$(command -v "$tool")" && ln -s "$path" "$work/tools/$tool"
done

# A plugin of the version that the library's own build has fetched, since a project may name none.
plugin() { # group, artifact
  echo "$1:$2:$(grep -A 1 "<artifactId>$2</artifactId>" "$PROJECT_DIR/pom.xml" | sed -nE 's/.*<version>(.*)<.*/\1/p' | head -n 1)"
}
compiler="$(plugin org.apache.maven.plugins maven-compiler-plugin)"
exec="$(plugin org.codehaus.mojo exec-maven-plugin)"
dependency="$(plugin org.apache.maven.plugins maven-dependency-plugin)"

run() { # folder
  local name log listed="$work/$1/dependencies.txt" program=()
  name="$(basename "$1")"
  log="$work/$name.log"
  mkdir -p "$work/$(dirname "$1")"
  cp -r "$PROJECT_DIR/$1" "$work/$1"
  # A project without plugins does not say what runs.
  grep -q exec-maven-plugin "$work/$1/pom.xml" || program=(
    -Dexec.executable="$java_home/bin/java"
    -Dexec.args="-Dorg.bytedeco.javacpp.maxPhysicalBytes=0 -Dorg.bytedeco.javacpp.cachedir=$work/javacpp -cp %classpath example.Consumer")
  if ! (cd "$work/$1" && env -i HOME="$work" PATH="$work/tools" JAVA_HOME="$java_home" \
    "$maven" --batch-mode --no-transfer-progress --settings "$work/settings.xml" \
    -Dautocircuit.version="$version" -Djavacpp.cache="$work/javacpp" "${options[@]}" "${program[@]}" \
    "$compiler:compile" "$exec:exec" "$dependency:list" -DoutputFile="$work/$name-brought.txt") >"$log" 2>&1; then
    grep -E 'ERROR|Exception|AssertionError' "$log" | head -n 20 >&2
    fail "the project $1 failed, see $log"
  fi
  grep -q "^$name: ok" "$log" || fail "the project $1 said nothing, see $log"
  echo "Project $1: compiled and run from the packaged jars"
  [ ! -f "$listed" ] || compare "$1" "$listed" "$work/$name-brought.txt"
}

# Of Jackson the minor version counts; versions of the others are the pom's affair.
compare() { # folder, list of dependencies, what Maven says of them
  sed -nE 's/^ +([^ ]+):(compile|runtime).*/\1/p' "$3" |
    sed -E -e '/jackson/s/^([^:]+:[^:]+):jar:([0-9]+\.[0-9]+).*/\1 \2/' \
      -e 's/^([^:]+:[^:]+):jar:[^:]+$/\1/' -e 's/^([^:]+:[^:]+):jar:([^:]+):[^:]+$/\1:\2/' |
    LC_ALL=C sort >"$work/brought.txt"
  grep -vE '^(#|$)' "$2" | LC_ALL=C sort |
    diff - "$work/brought.txt" >"$work/difference.txt" || {
    sed -nE -e 's/^</listed, but not brought:/p' -e 's/^>/brought, but not listed:/p' "$work/difference.txt" >&2
    fail "a consumer gets other dependencies than $1/dependencies.txt says"
  }
  echo "Project $1: no dependency but those listed"
}

for project in "${projects[@]}"; do
  run "$project"
done
