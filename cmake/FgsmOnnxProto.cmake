# onnx.proto, as Debian's libonnx-dev ships it, compiled to C by protobuf-c. Seen by host/onnx alone.

find_path(ONNX_PROTO_DIR onnx/onnx.proto REQUIRED)
find_program(PROTOC_C protoc-c REQUIRED)
set(out ${CMAKE_BINARY_DIR}/proto)
file(MAKE_DIRECTORY ${out})
add_custom_command(
  OUTPUT ${out}/onnx/onnx.pb-c.c ${out}/onnx/onnx.pb-c.h
  COMMAND ${PROTOC_C} --c_out=${out} -I ${ONNX_PROTO_DIR} ${ONNX_PROTO_DIR}/onnx/onnx.proto
  DEPENDS ${ONNX_PROTO_DIR}/onnx/onnx.proto VERBATIM)
add_custom_target(fgsm_onnx_pb DEPENDS ${out}/onnx/onnx.pb-c.h)
add_library(fgsm_layer_onnx_proto OBJECT ${out}/onnx/onnx.pb-c.c)
target_include_directories(fgsm_layer_onnx_proto PRIVATE ${out})
target_link_libraries(fgsm_layer_onnx_proto PRIVATE fgsm_sanitizers PkgConfig::PROTOBUF_C)
target_include_directories(fgsm_layer_onnx SYSTEM PRIVATE ${out})
target_link_libraries(fgsm_layer_onnx PRIVATE PkgConfig::PROTOBUF_C)
add_dependencies(fgsm_layer_onnx fgsm_onnx_pb)
