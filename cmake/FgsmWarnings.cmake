# Warnings and sanitizers, as interface targets that every target of ours links.

add_library(fgsm_warnings INTERFACE)
target_compile_options(fgsm_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wvla
  -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith $<$<BOOL:${FGSM_WERROR}>:-Werror>)
# Older compilers warn of #pragma omp where OpenMP is off (the thread-sanitizer build).
target_compile_options(fgsm_warnings INTERFACE -Wno-unknown-pragmas)
# Nor do sanitizers' builds, at -O1, know the ranges of numbers, and what is set on which way.
if(FGSM_SANITIZE)
  target_compile_options(fgsm_warnings INTERFACE -Wno-format-truncation -Wno-maybe-uninitialized)
endif()

add_library(fgsm_sanitizers INTERFACE)
if(FGSM_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "FGSM_FUZZ needs clang (CC=clang), for its libFuzzer")
  endif()
  set(flags -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
      -fno-omit-frame-pointer -Wno-pass-failed) # instrumented loops are not vectorised, and need not
elseif(FGSM_SANITIZE STREQUAL "address")
  set(flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
elseif(FGSM_SANITIZE STREQUAL "thread")
  set(flags -fsanitize=thread -fno-omit-frame-pointer)
elseif(FGSM_SANITIZE)
  message(FATAL_ERROR "FGSM_SANITIZE is address or thread, not '${FGSM_SANITIZE}'")
endif()
target_compile_options(fgsm_sanitizers INTERFACE ${flags})
target_link_options(fgsm_sanitizers INTERFACE ${flags})
if(FGSM_SANITIZE OR FGSM_FUZZ)
  target_compile_definitions(fgsm_sanitizers INTERFACE FG_SANITIZED)
endif()
