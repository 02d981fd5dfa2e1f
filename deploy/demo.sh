#!/usr/bin/env bash
# The main job from nothing: draw studies, index them, search and draft for one the index has never seen.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
show() { printf '\n$ %s\n' "$*"; "$bin/$1" "${@:2}"; }

rm -rf demo && mkdir demo
show prelim-evaluate draw demo/studies --studies 400
show prelim-index build demo/studies/manifest.jsonl --index demo/index
show prelim-evaluate draw demo/unseen --studies 1 --seed 9105
show prelim search demo/unseen/images/009105.png --view PA --index demo/index --cases 5
show prelim draft demo/unseen/images/009105.png --view PA --index demo/index
printf '\nWhat the unseen drawing really shows:\n'
sed -n 's/.*"labels": \[\(.*\)\].*/  \1/p' demo/unseen/manifest.jsonl

cat <<'NEXT'

These were drawings. Try next:
  .venv/bin/prelim draft --json demo/unseen/images/009105.png --view PA --index demo/index
  .venv/bin/prelim-index describe --index demo/index      what the index holds
  .venv/bin/prelim-index erase drawn-000003 --index demo/index
  your own radiographs and reports: README.md, "Your own cases"
NEXT
