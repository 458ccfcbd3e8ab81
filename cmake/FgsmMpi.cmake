# libfgsm_mpi.so: how processes that train together meet, which the library opens at run time. Built
# where MPI is; the library itself knows nothing of it.

find_package(MPI COMPONENTS C)
if(NOT MPI_C_FOUND)
  message(STATUS "no MPI: training in several processes is not built")
  return()
endif()
add_library(fgsm_mpi MODULE kernels/mpi/mpi.c)
target_include_directories(fgsm_mpi PRIVATE ${FGSM_SEAM_DIR} ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(fgsm_mpi PRIVATE MPI::MPI_C fgsm_warnings fgsm_sanitizers)
target_link_options(fgsm_mpi PRIVATE -Wl,--no-undefined
                    LINKER:--version-script=${CMAKE_SOURCE_DIR}/cmake/plugin.map)
set_target_properties(fgsm_mpi PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/plugin.map)
