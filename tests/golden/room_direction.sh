#!/usr/bin/env bash
# usage: room_direction.sh [REPOSITORY]     fails and names the lines that go against the rooms' direction
#        room_direction.sh --self-test      plants such lines in a copy and demands that each is found
#
# The direction, of which CMake sees only the linking:
#   base <- io, layout <- journal, pool, map, image <- tree <- disk <- store
# Everything outside engine/ sees coppice/*.h only; formats, nbd and fuse know neither each other nor the cli.
# RocksDB stands in map, libfuse in fuse, gnutls in nbd and liburing in io, and no public header names any; bench has a raw ring to compare with.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Prints offending lines, one a line. Tests of the engine's own rooms may look into them.
offences() {
  cd "$1"
  local houses=() house
  for house in engine formats nbd fuse cli services bench tests; do
    [[ ! -d $house ]] || houses+=("$house")
  done
  find "${houses[@]}" -type f \
    \( -name '*.h' -o -name '*.cpp' -o -name '*.inc' -o -name CMakeLists.txt \) | LC_ALL=C sort |
    xargs awk '
      BEGIN {
        sees["base"] = "base"
        sees["io"] = "io base"
        sees["layout"] = "layout base"
        sees["journal"] = "journal io layout base"
        sees["pool"] = "pool io layout base"
        sees["map"] = "map io layout base"
        sees["image"] = "image io base"
        sees["tree"] = "tree journal pool map io layout base"
        sees["disk"] = "disk " sees["tree"]
        sees["store"] = "store image " sees["disk"]
        for (room in sees) engine_rooms = engine_rooms " " room
        sees["include"] = ""
        sees["formats"] = "formats"
        sees["nbd"] = "nbd"
        sees["fuse"] = "fuse"
        sees["cli"] = "cli formats nbd fuse"
        sees["services"] = "services formats nbd"
        sees["bench"] = "bench"
        houses = engine_rooms " formats nbd fuse cli services bench "
      }
      function has(list, word) { return word != "" && index(" " list " ", " " word " ") > 0 }
      function offence(why) { print FILENAME ":" FNR ": " $0 "   <- " why }
      FNR == 1 {
        split(FILENAME, part, "/")
        house = part[1]
        room = house == "engine" ? part[2] : house
        inner_test = FILENAME ~ /^tests\/(unit|crash|support|fuzz)\//
      }
      FILENAME ~ /CMakeLists.txt$/ {
        if (house != "engine" && !inner_test && /coppice_rooms/) offence("only the engine sees its rooms")
        next
      }
      !/^[ \t]*#[ \t]*include[ \t]*[<"]/ { next }
      {
        header = $0
        sub(/^[^<"]*[<"]/, "", header)
        sub(/[>"].*/, "", header)
        target = header
        if (!sub(/\/.*/, "", target)) target = ""
      }
      header ~ /(^|\/)\.\.\// {
        if (house != "tests") offence("a path that climbs hides which room it enters")
        else if (!inner_test && header ~ /engine\//) offence("this test has to use the public interface")
        next
      }
      target == "rocksdb" {
        if (!(house == "engine" && room == "map") && !inner_test) offence("RocksDB stands in map")
        next
      }
      header ~ /^liburing/ {
        if (!(house == "engine" && room == "io") && house != "bench" && !inner_test) offence("liburing stands in io")
        next
      }
      target == "fuse3" {
        if (house != "fuse" && !inner_test) offence("libfuse stands in fuse")
        next
      }
      target == "gnutls" {
        if (house != "nbd" && !inner_test) offence("gnutls stands in nbd")
        next
      }
      target == "coppice" {
        if (!(header in absent)) absent[header] = system("test -f engine/include/" header)
        if (absent[header] != 0) offence("no such public header")
        next
      }
      house == "tests" {
        if (!inner_test && has(engine_rooms, target)) offence("this test has to use the public interface")
        next
      }
      has(houses, target) && !has(sees[room], target) { offence(room " may not see " target) }'
}

self_test() {
  local failed=0
  copy=$(mktemp -d)
  trap 'rm -rf "$copy"' EXIT
  local tree
  for tree in engine formats nbd fuse cli bench tests; do
    [[ ! -d $repo/$tree ]] || cp -r "$repo/$tree" "$copy/"
  done
  mkdir -p "$copy/tests/model"
  expect() { # FILE LINE
    local file=$copy/$1
    mkdir -p "$(dirname "$file")"
    [[ ! -e $file ]] || cp "$file" "$copy/kept"
    printf '%s\n' "$2" >>"$file"
    found=$(offences "$copy")
    if ! grep -qF "$1:" <<<"$found" || ! grep -qF "$2" <<<"$found"; then
      echo "room_direction: '$2' in $1 was not found" >&2
      failed=1
    fi
    rm "$file"
    if [[ -e $copy/kept ]]; then mv "$copy/kept" "$file"; fi
  }
  allow() { # FILE LINE
    local file=$copy/$1
    mkdir -p "$(dirname "$file")"
    printf '%s\n' "$2" >"$file"
    found=$(offences "$copy")
    if grep -qF "$1:" <<<"$found"; then
      echo "room_direction: '$2' in $1 is right and was refused" >&2
      failed=1
    fi
    rm "$file"
  }
  expect engine/base/planted.h '#include "io/block_file.h"'
  expect engine/io/planted.cpp '#include "layout/leaf.h"'
  expect engine/layout/planted.h '#include "map/leaf_cache.h"'
  expect engine/pool/planted.h '#include "journal/journal.h"'
  expect engine/image/planted.h '#include "layout/leaf.h"'
  expect engine/disk/planted.h '#include "image/qcow2.h"'
  expect engine/journal/planted.h '#include "tree/names.h"'
  expect engine/map/planted.h '  #  include "store/store.h"'
  expect engine/tree/planted.cpp '#include <disk/read_path.h>'
  expect engine/disk/planted.cpp '#include "nbd/server.h"'
  expect engine/disk/planted2.cpp '#include "../store/store.h"'
  expect engine/tree/planted.h '#include <rocksdb/db.h>'
  expect engine/pool/planted.cpp '#include <liburing.h>'
  expect engine/include/coppice/planted.h '#include <rocksdb/db.h>'
  expect engine/include/coppice/planted.h '#include <liburing.h>'
  expect engine/include/coppice/planted.h '#include "base/hash.h"'
  expect nbd/planted.cpp '#include "pool/pool.h"'
  expect nbd/planted.h '#include "cli/rpc.h"'
  expect formats/planted.cpp '#include "nbd/server.h"'
  expect fuse/planted.cpp '#include "nbd/server.h"'
  expect fuse/planted.cpp '#include "store/engine.h"'
  expect nbd/planted.cpp '#include "fuse/mounts.h"'
  expect cli/planted.cpp '#include <fuse3/fuse_lowlevel.h>'
  expect cli/planted.cpp '#include "map/leaf_cache.h"'
  expect cli/planted.cpp '#include <gnutls/gnutls.h>'
  expect cli/planted.cpp '#include "coppice/no_such_header.h"'
  expect cli/CMakeLists.txt 'target_link_libraries(coppice PRIVATE coppice_rooms)'
  expect tests/model/planted.cpp '#include "disk/write_path.h"'
  expect tests/model/planted.cpp '#include "../../engine/disk/write_path.h"'
  allow tests/unit/pool/planted.h '#include "../io/scratch.h"'
  allow engine/disk/planted.cpp '#include "tree/names.h"'
  allow engine/map/planted.cpp '#include <rocksdb/db.h>'
  allow engine/io/planted.cpp '#include <liburing.h>'
  allow engine/store/planted.cpp '#include <vector>'
  allow nbd/planted.cpp '#include "coppice/result.h"'
  allow cli/planted.cpp '#include "nbd/server.h"'
  allow nbd/planted.cpp '#include <gnutls/gnutls.h>'
  allow cli/planted.cpp '#include "fuse/mounts.h"'
  allow fuse/planted.cpp '#include <fuse3/fuse_lowlevel.h>'
  allow tests/unit/pool/planted.cpp '#include "pool/pool.h"'
  return "$failed"
}

if [[ ${1:-} == --self-test ]]; then
  self_test
  echo "every planted line was found"
  exit 0
fi
found=$(offences "${1:-$repo}")
if [[ -n $found ]]; then
  printf '%s\n' "$found" >&2
  echo "room_direction: $(wc -l <<<"$found") lines go against the rooms' direction (CONTRIBUTING.md)" >&2
  exit 1
fi
