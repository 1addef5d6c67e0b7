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
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(twinstep_options INTERFACE -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE)
  target_link_options(twinstep_options INTERFACE -Wl,-z,relro,-z,now -pie)
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
