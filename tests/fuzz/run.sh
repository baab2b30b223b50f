#!/usr/bin/env bash
# usage: run.sh TARGET CORPUS FOLDER RUNS
# Runs a fuzz target from the committed corpus, RUNS inputs with a fixed seed; with COPPICE_FUZZ_SECONDS set,
# with a new seed for that long instead. What it learns and what it breaks on goes to FOLDER.
set -euo pipefail
target=$1 corpus=$2 folder=$3 runs=$4

mkdir -p "$folder/found" "$folder/learned"
options=(-artifact_prefix="$folder/found/" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1)
if [[ -n ${COPPICE_FUZZ_SECONDS:-} ]]; then
  exec "$target" "${options[@]}" -max_total_time="$COPPICE_FUZZ_SECONDS" "$folder/learned" "$corpus"
fi
# An empty folder first: nothing is written into the source tree, and each run does the same.
fresh=$(mktemp -d "$folder/run.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
"$target" "${options[@]}" -seed=1 -runs="$runs" "$fresh" "$corpus" 2>"$folder/log" || {
  tail -n 60 "$folder/log" >&2
  echo "fuzz: the input is in $folder/found; $target FILE runs it again" >&2
  exit 1
}
tail -n 6 "$folder/log"
