# A room is one folder, one library. Its private includes start at the folder that holds all rooms of
# its house; who may include whom is checked by tests/golden/room_direction.sh.
set(COPPICE_SANITIZE "" CACHE STRING "sanitizers, as clang's -fsanitize= takes them")
option(COPPICE_WERROR "treat warnings as errors" OFF)

find_program(COPPICE_CCACHE ccache)
if(COPPICE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${COPPICE_CCACHE}")
endif()

find_program(COPPICE_LLD ld.lld-19)
if(COPPICE_LLD)
  add_link_options("-fuse-ld=${COPPICE_LLD}")
endif()

add_library(coppice_options INTERFACE)
target_compile_features(coppice_options INTERFACE cxx_std_23)
target_compile_options(coppice_options INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor
  $<$<BOOL:${COPPICE_WERROR}>:-Werror>)
if(COPPICE_SANITIZE)
  add_compile_options(-fsanitize=${COPPICE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${COPPICE_SANITIZE})
endif()
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# coppice_room(NAME SOURCES a.cpp … LINK lib … [SYSTEM lib …])
function(coppice_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;LINK;SYSTEM" ${ARGN})
  add_library(coppice_${name} STATIC ${ROOM_SOURCES})
  target_link_libraries(coppice_${name} PUBLIC coppice_options ${ROOM_LINK} PRIVATE ${ROOM_SYSTEM})
endfunction()
