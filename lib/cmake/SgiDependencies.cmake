# SPDX-License-Identifier: Apache-2.0
# What the library links. Names of Debian packages are in the messages, since they are what a reader needs next.

find_package(PkgConfig REQUIRED)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

pkg_check_modules(SGI_JANSSON QUIET IMPORTED_TARGET jansson>=2.13)
if(NOT SGI_JANSSON_FOUND)
  message(FATAL_ERROR "jansson 2.13 or newer is missing (Debian: libjansson-dev)")
endif()

pkg_check_modules(SGI_ZSTD QUIET IMPORTED_TARGET libzstd>=1.4)
if(NOT SGI_ZSTD_FOUND)
  message(FATAL_ERROR "libzstd 1.4 or newer is missing (Debian: libzstd-dev)")
endif()

# Headers only: hashing is compiled in with XXH_INLINE_ALL.
find_path(SGI_XXHASH_INCLUDE_DIR xxhash.h)
if(NOT SGI_XXHASH_INCLUDE_DIR)
  message(FATAL_ERROR "xxhash.h is missing (Debian: libxxhash-dev)")
endif()

# Sets SGI_HAVE_<what> to 1 or 0.
function(sgi_optional what module package)
  set(have 0)
  if(NOT SGI_${what} STREQUAL "OFF")
    pkg_check_modules(SGI_PC_${what} QUIET IMPORTED_TARGET ${module})
    if(SGI_PC_${what}_FOUND)
      set(have 1)
    elseif(SGI_${what} STREQUAL "ON")
      message(FATAL_ERROR "SGI_${what}=ON, but ${module} is missing (Debian: ${package})")
    endif()
  endif()
  set(SGI_HAVE_${what} ${have} PARENT_SCOPE)
endfunction()

sgi_optional(URING liburing>=2.2 liburing-dev)
