# LibTorch's CPU library as `yopo::torch`, from the PyPI wheel or an unpacked LibTorch, with or without the CUDA toolkit.
#
# The wheel's own TorchConfig.cmake fails without the toolkit, while libtorch_cpu.so and libc10.so need only the CUDA
# runtime and CUPTI packages that the wheel's rpath finds. Looked for in: YOPO_TORCH_DIR, CMAKE_PREFIX_PATH (the
# variable or the environment's; its root, or its share/cmake), and the project's .venv.
file(GLOB _venv_torch "${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch")
set(_prefixes "")
string(REPLACE ":" ";" _environment "$ENV{CMAKE_PREFIX_PATH}")
foreach(prefix ${CMAKE_PREFIX_PATH} ${_environment})
  string(REGEX REPLACE "/share/cmake(/Torch)?/?$" "" prefix "${prefix}")
  list(APPEND _prefixes "${prefix}" "${prefix}/libtorch")
endforeach()
find_path(LibTorch_INCLUDE_DIR torch/csrc/api/include/torch/torch.h
  HINTS ${YOPO_TORCH_DIR} ${_prefixes} ${_venv_torch} PATH_SUFFIXES include NO_DEFAULT_PATH)
find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS ${YOPO_TORCH_DIR} ${_prefixes} ${_venv_torch} PATH_SUFFIXES lib NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 HINTS ${YOPO_TORCH_DIR} ${_prefixes} ${_venv_torch} PATH_SUFFIXES lib NO_DEFAULT_PATH)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY
  REASON_FAILURE_MESSAGE "run `make build`, which fetches it, or set CMAKE_PREFIX_PATH to a LibTorch 2.11")
if(LibTorch_FOUND AND NOT TARGET yopo::torch)
  add_library(yopo::torch INTERFACE IMPORTED)
  target_include_directories(yopo::torch SYSTEM INTERFACE "${LibTorch_INCLUDE_DIR}" "${LibTorch_INCLUDE_DIR}/torch/csrc/api/include")
  # The CUDA runtime that libtorch_cpu.so wants is found by its own rpath when the program starts.
  target_link_libraries(yopo::torch INTERFACE "${LibTorch_CPU_LIBRARY}" "${LibTorch_C10_LIBRARY}")
  target_link_options(yopo::torch INTERFACE -Wl,--allow-shlib-undefined)
endif()
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY)
