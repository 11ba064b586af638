#!/usr/bin/env bash
# Judges the engine's pages in a real browser: accessibility, width of a phone, dark mode, keyboard.
#
# usage: scripts/check_page.sh            makes a report that passes and one that fails, and judges both
#        scripts/check_page.sh PAGE...    judges these pages
#
# Wants Node 20 and Chromium (CHROMIUM names it; Debian: apt-get install chromium). What it installs and the screenshots
# it takes are in target/page-check.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/page-check
mkdir -p "$work"
if [ ! -d "$work/node_modules/axe-core" ] || [ ! -d "$work/node_modules/playwright-core" ]; then
    npm install --silent --no-audit --no-fund --prefix "$work" axe-core@4 playwright-core@1
fi

if [ $# -eq 0 ]; then
    cargo probador full --quiet --reports "$work/whole" >/dev/null
    # A model that lost its end: claims fail, and the page must say so as well as it says the rest.
    head -c -4096 golden/tiny/tiny.apr >"$work/truncated.apr"
    cargo probador full --no-build --quiet --section A,B,C,G --model "$work/truncated.apr" --reports "$work/broken" \
        >/dev/null 2>&1 && { echo "a truncated model passed" >&2; exit 1; }
    set -- "$work/whole/latest/report.html" "$work/broken/latest/report.html"
    if [ -f reports/prove.html ]; then set -- "$@" reports/prove.html; fi
fi

NODE_PATH="$work/node_modules" node scripts/check_page.mjs "$work" "$@"
