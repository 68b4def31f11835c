#!/usr/bin/env bash
# Checks that every symbol our two native libraries take from LibTorch is also in
# the presets' CUDA build, so that one build of ours serves both. Argument: the
# pytorch jar with the linux-x86_64-gpu classifier (Maven's gpu profile passes it).
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

jar="${1:-}"
libraries="${AUTOCIRCUIT_OUTPUT_DIR:-$PROJECT_DIR/target/classes/org/autocircuit/internal/jni/linux-x86_64}"
[ -f "$jar" ] || fail "usage: check-gpu-symbols.sh pytorch-...-linux-x86_64-gpu.jar (run mvn -Pgpu process-classes)"
for library in libautocircuit.so libjniautocircuit.so; do
  [ -f "$libraries/$library" ] || fail "$libraries/$library has not been built"
done

export LC_ALL=C # sort and comm must agree
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# Extracting the libraries takes far longer than reading their symbols: keep those.
defined="$CACHE_DIR/$(basename "$jar" .jar).symbols"
if [ ! -s "$defined" ]; then
  mkdir -p "$CACHE_DIR"
  python3 - "$jar" "$work" <<'PYTHON' || fail "could not unpack $jar"
import os, re, shutil, sys, zipfile

jar, work = sys.argv[1:]
with zipfile.ZipFile(jar) as archive:
    for name in archive.namelist():
        file = os.path.basename(name)
        if re.fullmatch(r"lib(c10|torch)[a-z_]*\.so", file):
            with archive.open(name) as src, open(os.path.join(work, file), "wb") as dst:
                shutil.copyfileobj(src, dst, 1 << 20)
PYTHON
  [ -f "$work/libtorch_cuda.so" ] || fail "$jar holds no libtorch_cuda.so; is it the gpu classifier?"
  nm -D --defined-only --format=posix "$work"/*.so | sed -nE 's/^([^ @]+).*/\1/p' | sort -u >"$work/symbols"
  mv "$work/symbols" "$defined"
fi

# The C and C++ run-time libraries' symbols are versioned, LibTorch's are not.
nm -D --undefined-only "$libraries/libautocircuit.so" "$libraries/libjniautocircuit.so" |
  sed -nE 's/^ +U ([^ @]+)$/\1/p' | sort -u >"$work/needed"
nm -D --defined-only --format=posix "$libraries/libautocircuit.so" |
  sed -nE 's/^([^ @]+).*/\1/p' | sort -u >"$work/ours"
comm -23 "$work/needed" "$work/ours" | comm -23 - "$defined" >"$work/missing"

total="$(comm -23 "$work/needed" "$work/ours" | wc -l)"
if [ -s "$work/missing" ]; then
  c++filt <"$work/missing" >&2
  fail "$(wc -l <"$work/missing") of $total LibTorch symbols are not in $(basename "$jar")"
fi
echo "All $total LibTorch symbols that the native libraries need are in $(basename "$jar")"
