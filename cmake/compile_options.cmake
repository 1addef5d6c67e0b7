# One interface target carries warnings, hardening and sanitizers for everything of ours.
add_library(twinstep_options INTERFACE)
target_include_directories(twinstep_options INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_BINARY_DIR}/generated)
target_compile_options(twinstep_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Wold-style-cast
  -Woverloaded-virtual -Wimplicit-fallthrough -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these inside Boost and the standard library at -O2; clang and the sanitizers keep watch instead.
  target_compile_options(twinstep_options INTERFACE -Wno-maybe-uninitialized -Wno-restrict
    -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds)
endif()
target_compile_definitions(twinstep_options INTERFACE
  BOOST_ALLOW_DEPRECATED_HEADERS BOOST_ERROR_CODE_HEADER_ONLY BOOST_BIND_GLOBAL_PLACEHOLDERS SPDLOG_FMT_EXTERNAL)
# Position-independent programs in every build: what is loaded at a random address, and what the debugger sees, is the same.
include(CheckPIESupported)
check_pie_supported(OUTPUT_VARIABLE pie_trouble LANGUAGES CXX)
if(NOT CMAKE_CXX_LINK_PIE_SUPPORTED)
  message(FATAL_ERROR "the linker makes no position-independent programs: ${pie_trouble}")
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# Our libraries are static and end in programs, so nobody can put a function of his own before one of theirs.
target_compile_options(twinstep_options INTERFACE -fno-semantic-interposition)

# Hardening, except where a sanitizer watches: the checked variants of libc's functions would hide from it what it looks
# for. tests/peers/packaging.test.mjs looks at the programs that come out.
if(NOT TWINSTEP_SANITIZE AND NOT TWINSTEP_FUZZ)
  target_compile_options(twinstep_options INTERFACE -fstack-protector-strong -fstack-clash-protection)
  target_compile_definitions(twinstep_options INTERFACE _GLIBCXX_ASSERTIONS)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    target_compile_options(twinstep_options INTERFACE -fcf-protection=full)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    target_compile_options(twinstep_options INTERFACE -mbranch-protection=standard)
  endif()
  if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug" AND NOT CMAKE_BUILD_TYPE STREQUAL "") # it needs an optimising compiler
    set(fortify_level 2)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12)
      set(fortify_level 3)
    endif()
    # Some distributions' compilers set a level of their own.
    target_compile_options(twinstep_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=${fortify_level})
  endif()
  target_link_options(twinstep_options INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code)
endif()

if(TWINSTEP_SANITIZE)
  add_compile_options(-fsanitize=${TWINSTEP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TWINSTEP_SANITIZE})
  if(TWINSTEP_SANITIZE MATCHES thread)
    # Asio's memory fences are unknown to ThreadSanitizer; what they order is ordered by its mutexes too.
    add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
    add_compile_options(-Wno-tsan)
  endif()
endif()
if(TWINSTEP_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
endif()
