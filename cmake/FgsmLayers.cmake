# The house's include rules, made of include paths: a layer is an object library whose path holds its
# own folder, the seam, the public header, and the layers it SEES. What it must not know, it cannot
# include. (Paths that climb out with ".." are refused by tests/layers.sh.)

set(FGSM_SEAM_DIR ${CMAKE_BINARY_DIR}/seam)

# Stages the seam's headers apart from the backends that lie in folders beside them.
function(fgsm_seam)
  file(MAKE_DIRECTORY ${FGSM_SEAM_DIR})
  foreach(header ${ARGN})
    get_filename_component(name ${header} NAME)
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${header} ${FGSM_SEAM_DIR}/${name} SYMBOLIC)
  endforeach()
endfunction()

function(fgsm_layer name)
  cmake_parse_arguments(arg "" "DIR" "SEES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${arg_DIR}/*.c)
  add_library(fgsm_layer_${name} OBJECT ${sources})
  set_property(GLOBAL PROPERTY FGSM_LAYER_DIR_${name} ${CMAKE_SOURCE_DIR}/${arg_DIR})
  target_include_directories(fgsm_layer_${name} PRIVATE ${CMAKE_SOURCE_DIR}/${arg_DIR}
                             ${FGSM_SEAM_DIR} ${CMAKE_SOURCE_DIR}/include)
  foreach(seen ${arg_SEES})
    get_property(dir GLOBAL PROPERTY FGSM_LAYER_DIR_${seen})
    target_include_directories(fgsm_layer_${name} PRIVATE ${dir})
  endforeach()
  target_link_libraries(fgsm_layer_${name} PRIVATE fgsm_warnings fgsm_sanitizers)
endfunction()
