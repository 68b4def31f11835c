#!/usr/bin/env bash
# Prints a folder with the presets' LibTorch and OpenBLAS libraries, unpacked
# once from their Maven jars: what our library is linked against and what the
# C++ tests run on. Maven names the jars; by hand the local repository is looked
# through. AUTOCIRCUIT_TORCH_LIBRARIES names an existing folder instead.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ -n "${AUTOCIRCUIT_TORCH_LIBRARIES:-}" ]; then
  [ -f "$AUTOCIRCUIT_TORCH_LIBRARIES/libtorch_cpu.so" ] ||
    fail "AUTOCIRCUIT_TORCH_LIBRARIES=$AUTOCIRCUIT_TORCH_LIBRARIES holds no libtorch_cpu.so"
  echo "$AUTOCIRCUIT_TORCH_LIBRARIES"
  exit 0
fi

# The newest jar of an artifact in the local Maven repository; nothing where there is none.
local_jar() { # artifact, version pattern
  local folder="${HOME:-}/.m2/repository/org/bytedeco/$1"
  [ ! -d "$folder" ] ||
    find "$folder" -path "*/$1/$2/$1-*-linux-x86_64.jar" | sort -V | tail -n 1
}

pytorch="${AUTOCIRCUIT_PYTORCH_JAR:-$(local_jar pytorch "$TORCH_VERSION-*")}"
openblas="${AUTOCIRCUIT_OPENBLAS_JAR:-$(local_jar openblas '*')}"
{ [ -f "$pytorch" ] && [ -f "$openblas" ]; } ||
  fail "the presets' jars of LibTorch and OpenBLAS are not in the Maven repository (${HOME:-}/.m2); run \`mvn process-classes\` once"
case "$(basename "$pytorch")" in
  "pytorch-$TORCH_VERSION-"*) ;;
  *) fail "pom.xml asks for $(basename "$pytorch"), versions.env for LibTorch $TORCH_VERSION; make them agree" ;;
esac

target="$CACHE_DIR/$(basename "$pytorch" .jar)+$(basename "$openblas" -linux-x86_64.jar)"
if [ ! -d "$target" ]; then
  mkdir -p "$CACHE_DIR"
  work="$(mktemp -d "$CACHE_DIR/libtorch.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  python3 - "$work" "$pytorch" "$openblas" <<'PYTHON' || fail "could not unpack $pytorch"
import os, shutil, sys, zipfile

work, *jars = sys.argv[1:]
for jar in jars:
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            file = os.path.basename(name)
            if ".so" in file and not file.startswith("libjni"):
                with archive.open(name) as src, open(os.path.join(work, file), "wb") as dst:
                    shutil.copyfileobj(src, dst, 1 << 20)
PYTHON
  chmod 755 "$work"
  mv -T "$work" "$target" 2>/dev/null || [ -d "$target" ] || fail "could not write $target"
fi
echo "$target"
