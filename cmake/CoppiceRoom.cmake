# A room is one folder, one library. Its private includes start at the folder that holds all rooms of
# its house; who may include whom is checked by tests/golden/room_direction.sh.
set(COPPICE_SANITIZE "" CACHE STRING "sanitizers, as clang's -fsanitize= takes them")
option(COPPICE_WERROR "treat warnings as errors" OFF)

# What ccache wants to be told before it keeps what was compiled with a precompiled header.
find_program(COPPICE_CCACHE ccache)
if(COPPICE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER /usr/bin/env CCACHE_SLOPPINESS=pch_defines,time_macros "${COPPICE_CCACHE}")
  add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
endif()

find_program(COPPICE_LLD ld.lld-19)
if(COPPICE_LLD)
  add_link_options("-fuse-ld=${COPPICE_LLD}")
endif()

add_library(coppice_options INTERFACE)
target_compile_features(coppice_options INTERFACE cxx_std_23)
target_compile_options(coppice_options INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor
  $<$<BOOL:${COPPICE_WERROR}>:-Werror>)
# Lines are all that a sanitizer's report needs, and it finds at -O1 what it finds at -O2, compiled in two thirds of
# the time. Assertions hold, too.
if(COPPICE_SANITIZE)
  add_compile_options(-O1 -gline-tables-only -UNDEBUG
    -fsanitize=${COPPICE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${COPPICE_SANITIZE})
endif()
# What the standard library asks of who calls it: a span that is cut beyond its end may well stay inside memory that is there.
if(COPPICE_SANITIZE MATCHES "address")
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
endif()
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Half of what a compiler reads is the standard library: it is read once. Only what isn't ours; and each file still
# includes what it uses, for the release preset goes without.
set(COPPICE_PRECOMPILED <algorithm> <array> <atomic> <bit> <cerrno> <charconv> <chrono> <coroutine> <cstdint> <cstdio>
  <cstdlib> <cstring> <deque> <exception> <expected> <filesystem> <fstream> <functional> <map> <memory> <mutex> <optional>
  <random> <set> <span> <sstream> <string> <string_view> <thread> <unordered_map> <utility> <variant> <vector>
  <fmt/format.h>)

# coppice_precompile(TARGET [header …]): this target's own; where no header is added, most reuse one.
function(coppice_precompile target)
  target_precompile_headers(${target} PRIVATE ${COPPICE_PRECOMPILED} ${ARGN})
endfunction()
file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/precompiled.cpp" CONTENT "")
add_library(coppice_precompiled OBJECT "${CMAKE_BINARY_DIR}/precompiled.cpp")
target_link_libraries(coppice_precompiled PRIVATE coppice_options)
coppice_precompile(coppice_precompiled)

# coppice_room(NAME [FUZZED] SOURCES a.cpp … LINK lib … [SYSTEM lib …] [PRECOMPILE header …])
# FUZZED: tests/fuzz has a target for what it reads, which its coverage guides.
function(coppice_room name)
  cmake_parse_arguments(ROOM "FUZZED" "" "SOURCES;LINK;SYSTEM;PRECOMPILE" ${ARGN})
  add_library(coppice_${name} STATIC ${ROOM_SOURCES})
  target_link_libraries(coppice_${name} PUBLIC coppice_options ${ROOM_LINK} PRIVATE ${ROOM_SYSTEM})
  if(ROOM_FUZZED AND COPPICE_SANITIZE MATCHES "address")
    target_compile_options(coppice_${name} PRIVATE -fsanitize=fuzzer-no-link)
    coppice_precompile(coppice_${name} ${ROOM_PRECOMPILE})
  elseif(ROOM_PRECOMPILE)
    coppice_precompile(coppice_${name} ${ROOM_PRECOMPILE})
  else()
    target_precompile_headers(coppice_${name} REUSE_FROM coppice_precompiled)
  endif()
endfunction()
