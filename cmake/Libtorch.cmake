# Imported targets for the libtorch of the PyPI wheel, without find_package(Torch),
# which insists on a CUDA toolkit.
#
#   stockpot::libtorch   libtorch_cpu and libc10, plus the CUDA libraries when
#                        STOCKPOT_CUDA is ON
#
# The wheel's include folders come last (-idirafter): they carry headers of other
# projects. No include folder of the wheel may shadow Debian's.
set(STOCKPOT_LIBTORCH "" CACHE PATH
  "Folder that holds torch/lib and torch/include (default: what tools/setup.sh unpacks)")
set(site "${STOCKPOT_LIBTORCH}")
if(NOT site)
  if(STOCKPOT_CUDA)
    file(GLOB site "${PROJECT_SOURCE_DIR}/.deps/cuda/lib/python3*/site-packages")
  else()
    set(site "${PROJECT_SOURCE_DIR}/.deps/libtorch")
  endif()
endif()
if(NOT EXISTS "${site}/torch/lib/libtorch_cpu.so")
  message(FATAL_ERROR "No libtorch in '${site}'. Run tools/setup.sh, or set "
    "STOCKPOT_LIBTORCH, or configure with -DSTOCKPOT_WITH_TORCH=OFF.")
endif()

add_library(stockpot_libtorch INTERFACE)
add_library(stockpot::libtorch ALIAS stockpot_libtorch)
# The wheel's own OpenMP, so that the process has one.
set(libs "${site}/torch/lib/libtorch_cpu.so" "${site}/torch/lib/libc10.so"
  "${site}/torch/lib/libgomp.so.1")
if(STOCKPOT_CUDA)
  list(APPEND libs "${site}/torch/lib/libtorch_cuda.so" "${site}/torch/lib/libc10_cuda.so")
  target_compile_definitions(stockpot_libtorch INTERFACE STOCKPOT_CUDA=1)
endif()
target_compile_options(stockpot_libtorch INTERFACE
  "SHELL:-idirafter ${site}/torch/include"
  "SHELL:-idirafter ${site}/torch/include/torch/csrc/api/include"
  # at::parallel_for() is a header: without this it runs on one thread.
  -fopenmp
  -DAT_PER_OPERATOR_HEADERS -D_GLIBCXX_USE_CXX11_ABI=1
  -Wno-unused-parameter -Wno-sign-compare)
# --no-as-needed: libtorch_cuda registers itself when it is loaded; nothing here
# names a symbol of it.
target_link_libraries(stockpot_libtorch INTERFACE
  "-Wl,--no-as-needed" ${libs} "-Wl,--as-needed"
  "-Wl,-rpath,${site}/torch/lib" "-Wl,-rpath-link,${site}/nvidia/cu13/lib")
