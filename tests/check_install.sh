#!/bin/sh
# check_install.sh BUILD CC : what `cmake --install` lays down can be used: a program is compiled with
# pkg-config and one with find_package; the installed command, page and completions are whole.
set -eu
build=$1
cc=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

cat >"$work/main.c" <<'END'
#include <fgsm.h>
#include <stdio.h>
int main(void) {
  puts(fgsm_version());
  return fgsm_status_exit_code(FGSM_OK);
}
END
config=$(find "$prefix" -name fgsm.pc)
libdir=$(dirname "$(dirname "$config")")
sanitizer=$(grep '^FGSM_SANITIZE:' "$build/CMakeCache.txt" | cut -d= -f2)
case $sanitizer in
address) extra=-fsanitize=address,undefined ;;
thread) extra=-fsanitize=thread ;;
*) extra= ;;
esac
flags=$(PKG_CONFIG_PATH=$(dirname "$config") pkg-config --define-variable=prefix="$prefix" \
  --define-variable=includedir="$prefix/include" --define-variable=libdir="$libdir" --cflags --libs fgsm)
# shellcheck disable=SC2086
"$cc" $extra -o "$work/by-pkg-config" "$work/main.c" $flags -Wl,-rpath,"$libdir"
[ "$("$work/by-pkg-config")" = "$("$prefix/bin/fgsm" version | cut -d' ' -f2)" ]
echo "pkg-config: compiled and run"

cat >"$work/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(fgsm 0.1 REQUIRED)
add_executable(by-cmake main.c)
target_link_libraries(by-cmake PRIVATE fgsm::fgsm $extra)
END
cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
  >"$work/log" 2>&1 && cmake --build "$work/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$work/build/by-cmake" >/dev/null
echo "find_package: compiled and run"

for option in eps out fail-under device; do
  for file in share/man/man1/fgsm.1 share/bash-completion/completions/fgsm \
    share/zsh/site-functions/_fgsm share/fish/vendor_completions.d/fgsm.fish; do
    if ! sed 's/\\-/-/g' "$prefix/$file" | grep -q -e "$option"; then
      echo "$file does not name $option"
      exit 1
    fi
  done
done
if command -v bash >/dev/null; then
  bash -n "$prefix/share/bash-completion/completions/fgsm"
fi
echo "manual page and completions name the options"
