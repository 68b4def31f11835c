#!/usr/bin/env bash
# Prints the folder with LibTorch's headers, and fetches them first if the cache
# does not have them: the presets ship none, the official wheel of the same
# version does. AUTOCIRCUIT_TORCH_INCLUDE names an existing folder instead.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ -n "${AUTOCIRCUIT_TORCH_INCLUDE:-}" ]; then
  [ -f "$AUTOCIRCUIT_TORCH_INCLUDE/ATen/ATen.h" ] ||
    fail "AUTOCIRCUIT_TORCH_INCLUDE=$AUTOCIRCUIT_TORCH_INCLUDE holds no ATen/ATen.h"
  echo "$AUTOCIRCUIT_TORCH_INCLUDE"
  exit 0
fi

target="$CACHE_DIR/libtorch-headers-$TORCH_VERSION-${TORCH_COMMIT:0:12}"
if [ -d "$target" ]; then
  echo "$target/torch/include"
  exit 0
fi

command -v python3 >/dev/null || fail "python3 is missing; it fetches LibTorch's headers"
python3 -m pip --version >/dev/null 2>&1 ||
  fail "python3 has no pip; install it (Debian: apt-get install python3-pip)"

mkdir -p "$CACHE_DIR"
# Beside the target, so that the final rename is atomic; concurrent builds each
# work in their own folder and the first rename wins.
work="$(mktemp -d "$CACHE_DIR/headers.XXXXXX")"
trap 'rm -rf "$work"' EXIT

echo "Fetching LibTorch $TORCH_VERSION headers (once, into $CACHE_DIR) ..." >&2
if ! python3 -m pip download --quiet --no-deps --only-binary=:all: \
  --python-version "$TORCH_WHEEL_PYTHON" --platform "$TORCH_WHEEL_PLATFORM" \
  --dest "$work" "torch==$TORCH_VERSION" >"$work/pip.log" 2>&1; then
  reason="$(grep -i error "$work/pip.log" | tail -n 1 || true)"
  fail "could not download the torch $TORCH_VERSION wheel with pip; is the network up?" \
    "(AUTOCIRCUIT_TORCH_INCLUDE may name a folder with the headers) $reason"
fi

python3 - "$work" "$TORCH_COMMIT" <<'PYTHON' || fail "the torch wheel was not what was expected"
import glob, re, sys, zipfile

work, commit = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as wheel:
    version = wheel.read("torch/version.py").decode()
    found = re.search(r"^git_version.*?'([0-9a-f]+)'", version, re.M)
    if not found or found.group(1) != commit:
        sys.exit(f"expected torch commit {commit}, the wheel has {found and found.group(1)}")
    headers = [n for n in wheel.namelist() if n.startswith("torch/include/")]
    wheel.extractall(work + "/headers", headers)
PYTHON

mv -T "$work/headers" "$target" 2>/dev/null || [ -d "$target" ] ||
  fail "could not write $target"
echo "$target/torch/include"
