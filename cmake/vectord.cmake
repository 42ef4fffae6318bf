# How everything here is compiled, and the two helpers the folders use: vd_module and vd_test.
include(GNUInstallDirs)
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # _GNU_SOURCE functions and __atomic builtins; the language stays C11
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_C_FLAGS_RELEASE "-O3 -g1 -DNDEBUG")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")

add_library(vd_flags INTERFACE)
# -ffp-contract=off: a distance has the same bits on every CPU, so no compiler may fuse a multiply and an add on its own.
target_compile_options(vd_flags INTERFACE -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wundef -ffp-contract=off
  -fno-omit-frame-pointer $<$<COMPILE_LANGUAGE:C>:-Wconversion -Wstrict-prototypes -Wmissing-prototypes>)
if(VD_WERROR)
  target_compile_options(vd_flags INTERFACE -Werror)
endif()
target_compile_definitions(vd_flags INTERFACE _GNU_SOURCE VECTORD_VERSION="${PROJECT_VERSION}")
target_include_directories(vd_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(vd_flags INTERFACE Threads::Threads m)
if(VD_SANITIZER)
  target_compile_options(vd_flags INTERFACE -fsanitize=${VD_SANITIZER} -fno-sanitize-recover=all)
  target_link_options(vd_flags INTERFACE -fsanitize=${VD_SANITIZER})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(vd_flags INTERFACE -fstack-protector-strong -fstack-clash-protection
    $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
  target_link_options(vd_flags INTERFACE -Wl,-z,relro,-z,now -Wl,--as-needed)
endif()
if(VD_FUZZ)
  target_compile_options(vd_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# vd_module(name SOURCES a.c b.c DEPS other modules and libraries): one folder of src as a static library vd_<name>.
function(vd_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(vd_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(vd_${name} PUBLIC vd_flags ${ARG_DEPS})
endfunction()

# vd_test(path/name SOURCES x_test.c DEPS vd_x [TIMEOUT s] [ARGS ...] [LABELS ...]): a cmocka program and its ctest "path/name".
function(vd_test path)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;ARGS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(VD_SANITIZER) # two to ten times slower, and a hang is found all the same
    math(EXPR ARG_TIMEOUT "3 * ${ARG_TIMEOUT}")
  endif()
  string(REPLACE "/" "_" target test_${path})
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE vd_flags ${ARG_DEPS} cmocka)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${target} PRIVATE VD_TEST_DATA="${CMAKE_SOURCE_DIR}/tests/data"
    VD_SOURCE_DIR="${CMAKE_SOURCE_DIR}" VD_BINARY_DIR="${CMAKE_BINARY_DIR}")
  add_test(NAME ${path} COMMAND ${target} ${ARG_ARGS})
  set_tests_properties(${path} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}" SKIP_RETURN_CODE 77)
endfunction()
