# What `cmake --install` lays down: the command, the library and its one header, a pkg-config file, a
# CMake package (find_package(fgsm)), the manual page and completions. The last two are printed by the
# command itself from its option table, so they cannot fall behind it.

include(CMakePackageConfigHelpers)

set(generated ${CMAKE_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${generated})
set(made)
function(fgsm_generate file)
  add_custom_command(OUTPUT ${generated}/${file}
    COMMAND fgsm-cli ${ARGN} > ${generated}/${file}
    DEPENDS fgsm-cli VERBATIM)
  set(made ${made} ${generated}/${file} PARENT_SCOPE)
endfunction()
fgsm_generate(fgsm.1 man)
fgsm_generate(fgsm.bash completions bash)
fgsm_generate(_fgsm completions zsh)
fgsm_generate(fgsm.fish completions fish)
add_custom_target(fgsm-generated ALL DEPENDS ${made})

set_target_properties(fgsm-cli PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
install(TARGETS fgsm EXPORT fgsm-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET fgsm_cuda)
  install(TARGETS fgsm_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
if(TARGET fgsm_mpi)
  install(TARGETS fgsm_mpi LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(TARGETS fgsm-cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES include/fgsm.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(data ${CMAKE_INSTALL_DATADIR})
install(FILES ${generated}/fgsm.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${generated}/fgsm.bash DESTINATION ${data}/bash-completion/completions RENAME fgsm)
install(FILES ${generated}/_fgsm DESTINATION ${data}/zsh/site-functions)
install(FILES ${generated}/fgsm.fish DESTINATION ${data}/fish/vendor_completions.d)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

configure_file(cmake/fgsm.pc.in ${generated}/fgsm.pc @ONLY)
install(FILES ${generated}/fgsm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/fgsm)
install(EXPORT fgsm-targets NAMESPACE fgsm:: DESTINATION ${package})
configure_package_config_file(cmake/fgsm-config.cmake.in ${generated}/fgsm-config.cmake
                              INSTALL_DESTINATION ${package})
write_basic_package_version_file(${generated}/fgsm-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${generated}/fgsm-config.cmake ${generated}/fgsm-config-version.cmake
        DESTINATION ${package})
