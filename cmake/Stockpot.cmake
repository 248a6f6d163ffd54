# stockpot_library(NAME base SRCS a.cc b.h DEPS absl::status)
# A static library with the alias stockpot::<NAME>. DEPS are PUBLIC: a folder's
# link line is its declared, and only, set of allowed includes.
function(stockpot_library)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_library(stockpot_${ARG_NAME} STATIC ${ARG_SRCS})
  target_link_libraries(stockpot_${ARG_NAME} PUBLIC ${ARG_DEPS} PRIVATE stockpot_flags)
  target_include_directories(stockpot_${ARG_NAME} PUBLIC ${PROJECT_SOURCE_DIR})
  add_library(stockpot::${ARG_NAME} ALIAS stockpot_${ARG_NAME})
endfunction()

# stockpot_test(NAME x_test SRCS x_test.cc DEPS stockpot::x LABELS gpu)
# One ctest entry per gtest case, so that each runs alone.
function(stockpot_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} stockpot_flags GTest::gmock_main)
  target_compile_definitions(${ARG_NAME} PRIVATE
    STOCKPOT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(${ARG_NAME} DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
    # Threads that spin while they wait slow each other many times over when
    # tests run side by side.
    ENVIRONMENT "OMP_WAIT_POLICY=PASSIVE")
endfunction()

# stockpot_gpu_test(model_golden_test)
# Runs a whole test program once more, on the first GPU; it skips, and says why,
# where there is none.
function(stockpot_gpu_test name)
  add_test(NAME ${name}_gpu COMMAND ${name})
  set_tests_properties(${name}_gpu PROPERTIES LABELS gpu TIMEOUT 600
    ENVIRONMENT "STOCKPOT_TEST_DEVICE=cuda:0"
    SKIP_REGULAR_EXPRESSION "[[]  SKIPPED []]")
endfunction()
