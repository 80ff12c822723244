# `cmake --install build/release --prefix DIR`: the command, the libraries, include/yopo and the package for
# find_package(yopo), with components `runtime` and `toolkit`.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(YOPO_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/yopo")

# The installed command takes LibTorch out of the Python environment around it, if that has one (a wheel: python/build_backend.py
# sets YOPO_TORCH_RPATH), else from where the build found it. (INSTALL_RPATH_USE_LINK_PATH leaves out folders inside the source
# tree, as .venv is.)
get_filename_component(YOPO_TORCH_LIBRARY_DIR "${LibTorch_CPU_LIBRARY}" DIRECTORY)
if(NOT YOPO_TORCH_RPATH AND YOPO_TORCH_LIBRARY_DIR MATCHES "/(lib/python3[^/]*/site-packages/torch/lib)$")
  set(YOPO_TORCH_RPATH "$ORIGIN/../${CMAKE_MATCH_1}")
endif()
set_target_properties(yopo_command PROPERTIES INSTALL_RPATH "${YOPO_TORCH_RPATH};${YOPO_TORCH_LIBRARY_DIR}" INSTALL_RPATH_USE_LINK_PATH ON)
set(command_folder "${CMAKE_INSTALL_BINDIR}")
if(SKBUILD)  # a wheel of python/ holds the command alone
  set(command_folder "${SKBUILD_SCRIPTS_DIR}")
endif()
install(TARGETS yopo_command RUNTIME DESTINATION "${command_folder}" COMPONENT command)

foreach(name core runtime toolkit)
  set_target_properties(yopo_${name} PROPERTIES EXPORT_NAME ${name})
endforeach()
set(runtime_targets yopo_core yopo_runtime)
if(TARGET yopo_cuda)
  set_target_properties(yopo_cuda PROPERTIES EXPORT_NAME cuda)
  list(APPEND runtime_targets yopo_cuda)
endif()
install(TARGETS ${runtime_targets} EXPORT yopo-runtime ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(TARGETS yopo_toolkit yopo EXPORT yopo-toolkit ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT yopo-runtime NAMESPACE yopo:: DESTINATION "${YOPO_PACKAGE_DIR}")
install(EXPORT yopo-toolkit NAMESPACE yopo:: DESTINATION "${YOPO_PACKAGE_DIR}")

install(DIRECTORY include/yopo DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
get_filename_component(YOPO_TORCH_FOUND "${LibTorch_INCLUDE_DIR}" DIRECTORY)
configure_package_config_file(cmake/yopo-config.cmake.in "${CMAKE_BINARY_DIR}/yopo-config.cmake"
  INSTALL_DESTINATION "${YOPO_PACKAGE_DIR}")
write_basic_package_version_file("${CMAKE_BINARY_DIR}/yopo-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/yopo-config.cmake" "${CMAKE_BINARY_DIR}/yopo-config-version.cmake"
  cmake/YopoFindLibrary.cmake cmake/FindLibTorch.cmake DESTINATION "${YOPO_PACKAGE_DIR}")
