# yopo_find_library(name file): the library `file` that brings no CMake package of its own, as the imported target
# yopo::name. Used by our build, where it must be there, and by the installed package, which names what is missing in
# yopo_missing instead.
function(yopo_find_library name file)
  if(TARGET yopo::${name})
    return()
  endif()
  find_library(YOPO_${name}_LIBRARY ${file})
  mark_as_advanced(YOPO_${name}_LIBRARY)
  if(YOPO_${name}_LIBRARY)
    add_library(yopo::${name} UNKNOWN IMPORTED)
    set_target_properties(yopo::${name} PROPERTIES IMPORTED_LOCATION "${YOPO_${name}_LIBRARY}")
  elseif(DEFINED yopo_missing)
    list(APPEND yopo_missing "lib${file}")
    set(yopo_missing "${yopo_missing}" PARENT_SCOPE)
  else()
    message(FATAL_ERROR "The library ${file} is missing (see scripts/setup.sh)")
  endif()
endfunction()
