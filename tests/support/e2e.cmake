# vd_e2e(name SCRIPT path-under-tests [ARGS ...] [TIMEOUT s] [LABELS ...]): a ctest that drives the real binaries from Python
# (or sh, when the script ends in .sh). The environment comes from the fixture "venv", made in the build tree by venv.sh.
set(VD_E2E_DIR ${CMAKE_BINARY_DIR}/e2e)

get_property(VD_E2E_READY GLOBAL PROPERTY VD_E2E_READY)
if(NOT VD_E2E_READY)
  set_property(GLOBAL PROPERTY VD_E2E_READY TRUE)
  add_test(NAME support/venv COMMAND ${CMAKE_SOURCE_DIR}/tests/support/venv.sh ${VD_E2E_DIR}
    ${CMAKE_SOURCE_DIR}/proto/vectord/v1/vectord.proto)
  set_tests_properties(support/venv PROPERTIES FIXTURES_SETUP venv TIMEOUT 300)
endif()

function(vd_e2e name)
  if(NOT TARGET vectord)
    return()
  endif()
  cmake_parse_arguments(ARG "" "SCRIPT;TIMEOUT" "ARGS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(ARG_SCRIPT MATCHES "[.]sh$")
    set(run sh)
  else()
    set(run ${VD_E2E_DIR}/venv/bin/python)
  endif()
  add_test(NAME ${name} COMMAND ${run} ${CMAKE_SOURCE_DIR}/tests/${ARG_SCRIPT} ${ARG_ARGS})
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "VECTORD_BIN=$<TARGET_FILE:vectord>;STORAGED_BIN=$<TARGET_FILE:storaged>;PYTHONPATH=${CMAKE_SOURCE_DIR}/tests/support:${VD_E2E_DIR}/stubs;PYTHONDONTWRITEBYTECODE=1;PYTHONUNBUFFERED=1;E2E_SANITIZER=${VD_SANITIZER};LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/support/lsan.supp:print_suppressions=0"
    FIXTURES_REQUIRED venv TIMEOUT ${ARG_TIMEOUT} LABELS "e2e;${ARG_LABELS}" SKIP_RETURN_CODE 77)
endfunction()
