#!/usr/bin/env bash
# Installs the two packaged jars into a temporary Maven repository and compiles
# and runs src/test/consumer against them, with no C++ compiler on the PATH and
# with caches of its own; then holds what they brought along to its
# dependencies.txt. The user's repository serves as a read-only source of
# everything else. Run mvn package first.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

maven="${AUTOCIRCUIT_MAVEN:-$(command -v mvn)}"
version="${AUTOCIRCUIT_VERSION:-0.1.0-SNAPSHOT}"
user_repository="${AUTOCIRCUIT_MAVEN_REPOSITORY:-${HOME:-}/.m2/repository}"
java_home="${AUTOCIRCUIT_JAVA_HOME:-${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")}}"

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
cp "$PROJECT_DIR/pom.xml" "$installed/autocircuit-$version.pom"
cp -r "$PROJECT_DIR/src/test/consumer" "$work/project"

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

# Only what Maven's own start script uses: neither g++ nor cmake nor python3.
for tool in sh bash dirname basename uname ls expr readlink sed grep cat tr cut which; do
  path="$(command -v "$tool")" && ln -s "$path" "$work/tools/$tool"
done

if ! (cd "$work/project" && env -i HOME="$work" PATH="$work/tools" JAVA_HOME="$java_home" \
  "$maven" --batch-mode --no-transfer-progress --settings "$work/settings.xml" \
  -Dautocircuit.version="$version" -Djavacpp.cache="$work/javacpp" \
  compile exec:exec dependency:list -DoutputFile="$work/dependencies.txt") >"$work/log.txt" 2>&1; then
  grep -E 'ERROR|Exception' "$work/log.txt" | head -n 20 >&2
  fail "the consumer project failed, see $work/log.txt"
fi
grep -q '^consumer: ok' "$work/log.txt" || fail "the consumer project said nothing, see $work/log.txt"

# Of Jackson the minor version counts; versions of the others are the pom's affair.
sed -nE 's/^ +([^ ]+):(compile|runtime).*/\1/p' "$work/dependencies.txt" |
  sed -E -e '/jackson/s/^([^:]+:[^:]+):jar:([0-9]+\.[0-9]+).*/\1 \2/' \
    -e 's/^([^:]+:[^:]+):jar:[^:]+$/\1/' -e 's/^([^:]+:[^:]+):jar:([^:]+):[^:]+$/\1:\2/' |
  LC_ALL=C sort >"$work/brought.txt"
grep -vE '^(#|$)' "$work/project/dependencies.txt" | LC_ALL=C sort |
  diff - "$work/brought.txt" >"$work/difference.txt" || {
  sed -nE -e 's/^</listed, but not brought:/p' -e 's/^>/brought, but not listed:/p' "$work/difference.txt" >&2
  fail "a consumer gets other dependencies than src/test/consumer/dependencies.txt says"
}
echo "Consumer project: compiled and run from the packaged jars, with no dependency but those listed"
