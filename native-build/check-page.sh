#!/usr/bin/env bash
# Checks the types of the modules of the pages, as their JSDoc gives them, with the
# TypeScript compiler, where npm is there and can fetch it; says so and goes on
# where not. The compiler and d3's types stay under target/page-types.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

modules="$PROJECT_DIR/src/main/resources/org/autocircuit/report/page"
work="$PROJECT_DIR/target/page-types"
command -v npm >/dev/null || {
  echo "[WARNING] autocircuit: no npm, so the types of the pages' modules are not checked" >&2
  exit 0
}
mkdir -p "$work"
[ -d "$work/node_modules/typescript" ] ||
  npm install --silent --no-audit --no-fund --prefix "$work" typescript@7.0.2 @types/d3@7.4.3 || {
  echo "[WARNING] autocircuit: npm fetched no compiler, so types of pages' modules are not checked" >&2
  exit 0
}
cat >"$work/tsconfig.json" <<CONFIG
{
  "compilerOptions": {
    "allowJs": true, "checkJs": true, "noEmit": true, "strict": true,
    "target": "es2022", "module": "es2022", "moduleResolution": "bundler",
    "lib": ["es2022", "dom", "dom.iterable"], "types": ["d3"], "typeRoots": ["node_modules/@types"],
    "allowUmdGlobalAccess": true, "noUnusedLocals": true
  },
  "files": ["$modules/main.js", "$modules/explore.js", "$modules/map.js"]
}
CONFIG
"$work/node_modules/.bin/tsc" --project "$work/tsconfig.json"
echo "Types of the pages' modules: checked"
