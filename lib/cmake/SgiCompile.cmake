# SPDX-License-Identifier: Apache-2.0
# How everything here is compiled: one interface target that each of our targets links, and a check on source lists.

add_library(sgi_compile INTERFACE)
target_compile_definitions(sgi_compile INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64)
target_compile_options(sgi_compile INTERFACE -fno-plt)

target_compile_options(sgi_compile INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
  $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>)
if(SGI_WERROR)
  target_compile_options(sgi_compile INTERFACE -Werror)
endif()

if(SGI_SANITIZE)
  target_compile_options(sgi_compile INTERFACE
    -fsanitize=${SGI_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_link_options(sgi_compile INTERFACE -fsanitize=${SGI_SANITIZE})
  # For tests that look at memory or threads: each compiler has a macro of its own for this.
  foreach(sanitizer IN ITEMS address thread)
    if(SGI_SANITIZE MATCHES "${sanitizer}")
      string(TOUPPER "SGI_SANITIZES_${sanitizer}" definition)
      target_compile_definitions(sgi_compile INTERFACE ${definition})
    endif()
  endforeach()
endif()
if(SGI_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "SGI_FUZZ needs clang, this is ${CMAKE_C_COMPILER_ID}; use the fuzz preset")
  endif()
  target_compile_options(sgi_compile INTERFACE -fsanitize=fuzzer-no-link)
endif()

# A relative path in a list that does not exist is a slip of the list: say so, with the list's file.
function(sgi_check_sources)
  foreach(source IN LISTS ARGN)
    if(NOT IS_ABSOLUTE "${source}")
      set(source "${CMAKE_CURRENT_SOURCE_DIR}/${source}")
    endif()
    if(NOT EXISTS "${source}")
      cmake_path(RELATIVE_PATH source BASE_DIRECTORY "${PROJECT_SOURCE_DIR}")
      cmake_path(RELATIVE_PATH CMAKE_CURRENT_LIST_FILE BASE_DIRECTORY "${PROJECT_SOURCE_DIR}" OUTPUT_VARIABLE list_file)
      message(FATAL_ERROR "${list_file} lists ${source}, and there is no such file")
    endif()
  endforeach()
endfunction()
