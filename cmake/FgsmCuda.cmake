# The CUDA kernels for a card: code for sm_80 and sm_90, and PTX for what comes after. Without nvcc
# nothing here is built; the kernels are then still run on the CPU (tests/simt).
#
# All three are made of one PTX, for compute_80: no kernel asks for more, and what ptxas made for sm_90 of a
# PTX for compute_90a of its own was the same, instruction by instruction, for a fifth more time.
#
# nvcc is called by itself, not as a language of CMake's: what ptxas reports of each kernel must be
# kept, because a test holds it against the budgets that stand beside the kernels.

option(FGSM_CUDA "compile the CUDA kernels where nvcc is found" ON)
find_program(FGSM_NVCC nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(NOT FGSM_CUDA OR NOT FGSM_NVCC)
  message(STATUS "no nvcc: the CUDA kernels are not compiled for a card")
  return()
endif()

file(GLOB FGSM_CUDA_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/cuda/*.cu)
set(FGSM_CUDA_DIR ${CMAKE_BINARY_DIR}/cuda)
file(MAKE_DIRECTORY ${FGSM_CUDA_DIR})
# No path into the build folder, nor called from there: so the compiler's cache knows a kernel again in every other
# build.
set(flags -std=c++17 -O3 -lineinfo -I${CMAKE_SOURCE_DIR}/kernels/cuda -I${CMAKE_SOURCE_DIR}/kernels
    -I${CMAKE_SOURCE_DIR}/include)
set(FGSM_CUDA_CODE -gencode=arch=compute_80,code=[sm_80,sm_90,compute_80])
set(objects)
foreach(source ${FGSM_CUDA_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  set(object ${FGSM_CUDA_DIR}/${name}.o)
  add_custom_command(
    OUTPUT ${object} BYPRODUCTS ${FGSM_CUDA_DIR}/${name}.ptxas
    COMMAND ${CMAKE_SOURCE_DIR}/cmake/compile-cuda ${FGSM_CUDA_DIR}/${name}.ptxas
            ${CMAKE_C_COMPILER_LAUNCHER} ${FGSM_NVCC} ${flags} -Xptxas=-v
            -Xcompiler=-fPIC,-fvisibility=hidden,-Wall
            ${FGSM_CUDA_CODE} -MD -MF ${object}.d -c ${source} -o ${object}
    DEPENDS ${source} ${CMAKE_SOURCE_DIR}/cmake/compile-cuda
    DEPFILE ${object}.d WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} COMMENT "nvcc ${name}.cu" VERBATIM)
  list(APPEND objects ${object})
endforeach()
set(FGSM_CUDA_OBJECTS ${objects})
set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
add_library(fgsm_cuda_objects OBJECT ${objects})
set_target_properties(fgsm_cuda_objects PROPERTIES LINKER_LANGUAGE C)
add_custom_target(fgsm_cuda_code ALL DEPENDS ${objects})
