# Finds cuDNN and cuBLASLt (headers and libraries), in the system or in Python's wheel folders
# (nvidia/cudnn, nvidia/cu13 or nvidia/cublas below a site-packages), without a C++ language:
# targets' own variables CUDNN_INCLUDE_DIR, CUDNN_LIBRARY, CUBLASLT_INCLUDE_DIR, CUBLASLT_LIBRARY and
# FgsmNV_FOUND. Hints: -DFGSM_NV_SITE=<site-packages> or the environment's FGSM_NV_SITE, CUDNN_ROOT,
# CUBLASLT_ROOT.

set(site "${FGSM_NV_SITE}" "$ENV{FGSM_NV_SITE}")
if(NOT FGSM_NV_SITE AND NOT DEFINED ENV{FGSM_NV_SITE})
  find_program(FGSM_PYTHON NAMES python3 python)
  mark_as_advanced(FGSM_PYTHON)
  if(FGSM_PYTHON)
    execute_process(COMMAND ${FGSM_PYTHON} -c "import sysconfig; print(sysconfig.get_path('purelib'))"
                    OUTPUT_VARIABLE purelib OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    list(APPEND site "${purelib}")
  endif()
endif()

# A library by its header and name; wheels have no name without the version behind it.
function(fgsm_find_nv name header library version)
  set(hints)
  foreach(root IN LISTS site)
    if(root)
      foreach(folder ${ARGN} cu13)
        list(APPEND hints "${root}/nvidia/${folder}")
      endforeach()
    endif()
  endforeach()
  get_filename_component(toolkit "${FGSM_NVCC}" DIRECTORY)
  get_filename_component(toolkit "${toolkit}" DIRECTORY)
  find_path(${name}_INCLUDE_DIR ${header} HINTS ${${name}_ROOT} $ENV{${name}_ROOT} ${toolkit} ${hints}
            PATH_SUFFIXES include)
  find_library(${name}_LIBRARY NAMES ${library} lib${library}.so.${version} NAMES_PER_DIR
               HINTS ${${name}_ROOT} $ENV{${name}_ROOT} ${toolkit} ${hints}
               PATH_SUFFIXES lib64 lib lib/x64)
  mark_as_advanced(${name}_INCLUDE_DIR ${name}_LIBRARY)
endfunction()

fgsm_find_nv(CUDNN cudnn_graph.h cudnn 9 cudnn)
fgsm_find_nv(CUBLASLT cublasLt.h cublasLt 13 cublas)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(FgsmNV REQUIRED_VARS CUDNN_LIBRARY CUDNN_INCLUDE_DIR
                                  CUBLASLT_LIBRARY CUBLASLT_INCLUDE_DIR)
