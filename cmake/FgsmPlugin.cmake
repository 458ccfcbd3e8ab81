# libfgsm_cuda.so: the CUDA backend, which the library opens at run time. Built where nvcc, the CUDA
# runtime, cuDNN and cuBLASLt are. It links none of the three libraries but the runtime, statically:
# cuDNN and cuBLASLt are opened when a card is, and the driver by the runtime.

if(NOT TARGET fgsm_cuda_objects)
  return()
endif()
get_filename_component(toolkit ${FGSM_NVCC} REALPATH)
get_filename_component(toolkit ${toolkit} DIRECTORY)
get_filename_component(toolkit ${toolkit} DIRECTORY)
find_package(FgsmNV)
find_path(CUDART_INCLUDE_DIR cuda_runtime_api.h HINTS ${toolkit} PATH_SUFFIXES include)
find_library(CUDART_STATIC_LIBRARY cudart_static HINTS ${toolkit} PATH_SUFFIXES lib64 lib lib/x64)
mark_as_advanced(CUDART_INCLUDE_DIR CUDART_STATIC_LIBRARY)
if(NOT FgsmNV_FOUND OR NOT CUDART_INCLUDE_DIR OR NOT CUDART_STATIC_LIBRARY)
  message(STATUS "no CUDA runtime, cuDNN or cuBLASLt: the CUDA plugin is not built")
  return()
endif()

set(FGSM_NV_INCLUDE_DIRS ${CUDART_INCLUDE_DIR} ${CUDNN_INCLUDE_DIR} ${CUBLASLT_INCLUDE_DIR})
get_filename_component(cudnn_folder ${CUDNN_LIBRARY} DIRECTORY)
get_filename_component(cublaslt_folder ${CUBLASLT_LIBRARY} DIRECTORY)
set(FGSM_NV_DEFINITIONS FGSM_CUDNN_FOLDER="${cudnn_folder}/" FGSM_CUBLASLT_FOLDER="${cublaslt_folder}/")
fgsm_layer(cuda DIR kernels/cuda)
target_sources(fgsm_layer_cuda PRIVATE ${CMAKE_SOURCE_DIR}/kernels/choice_cache.c)
target_include_directories(fgsm_layer_cuda SYSTEM PRIVATE ${FGSM_NV_INCLUDE_DIRS})
target_compile_definitions(fgsm_layer_cuda PRIVATE ${FGSM_NV_DEFINITIONS})

add_library(fgsm_cuda MODULE $<TARGET_OBJECTS:fgsm_layer_cuda> ${FGSM_CUDA_OBJECTS})
set_target_properties(fgsm_cuda PROPERTIES LINKER_LANGUAGE C)
target_link_libraries(fgsm_cuda PRIVATE ${CUDART_STATIC_LIBRARY} stdc++ Threads::Threads rt m
                      ${CMAKE_DL_LIBS} fgsm_sanitizers)
target_link_options(fgsm_cuda PRIVATE -Wl,--exclude-libs,ALL -Wl,--no-undefined
                    LINKER:--version-script=${CMAKE_SOURCE_DIR}/cmake/plugin.map)
set_target_properties(fgsm_cuda PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/plugin.map)
