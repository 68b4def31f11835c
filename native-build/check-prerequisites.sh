#!/usr/bin/env bash
# Checks what a build needs before anything else runs, so that a missing tool is
# one clear line at the start and not a puzzle in the middle.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need() { # command, Debian package
  command -v "$1" >/dev/null || fail "$1 is missing and needed to build (Debian: apt-get install $2)"
}

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
  fail "the native library is built on Linux x86_64 only, this is $(uname -s) $(uname -m)"

# Maven says which JDK it runs on; by hand it is the one on the PATH.
java_home="${AUTOCIRCUIT_JAVA_HOME:-${JAVA_HOME:-}}"
if [ -z "$java_home" ]; then
  need javac openjdk-17-jdk
  java_home="$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")"
fi
{ [ -x "$java_home/bin/javac" ] && [ -f "$java_home/include/jni.h" ]; } ||
  fail "$java_home is not a JDK (javac or jni.h is missing); point JAVA_HOME to a JDK 17"
# JAVA_TOOL_OPTIONS adds a line of its own.
java_version="$("$java_home/bin/javac" -version 2>&1 | sed -nE 's/^javac ([0-9]+).*/\1/p')"
[ "$java_version" -ge 17 ] 2>/dev/null ||
  fail "Java 17 or newer is needed, $java_home is version $java_version; point JAVA_HOME to a JDK 17"

need g++ g++
need cmake cmake
# cmake only writes the build's plan; one of these carries it out.
command -v ninja >/dev/null || need make make
need python3 python3
gcc_version="$(g++ -dumpversion | cut -d. -f1)"
[ "$gcc_version" -ge 12 ] 2>/dev/null || fail "g++ 12 or newer is needed, this is $gcc_version"
cmake_version="$(cmake --version | sed -nE '1s/.* ([0-9]+\.[0-9]+).*/\1/p')"
[ "$(printf '3.20\n%s\n' "$cmake_version" | sort -V | head -n 1)" = 3.20 ] ||
  fail "cmake 3.20 or newer is needed, this is $cmake_version"
python3 -m pip --version >/dev/null 2>&1 ||
  fail "python3 has no pip; install it (Debian: apt-get install python3-pip)"
