# Generates the protobuf-c code into the build tree, from a copy of the published .proto that says the same on the wire in words
# protoc-c understands: it refuses proto3 `optional` (so `optional T f = n;` becomes a one-member oneof) and turns strings into
# char* without their length (so every string carries string_as_bytes). tests/unit/codec compares the two descriptor sets.
set(VD_PROTO ${CMAKE_SOURCE_DIR}/proto/vectord/v1/vectord.proto)
set(VD_PROTO_DIR ${CMAKE_BINARY_DIR}/proto)
set(VD_PROTO_COPY ${VD_PROTO_DIR}/vectord/v1/vectord.proto)
find_program(VD_PROTOC protoc REQUIRED)
find_program(VD_PROTOC_C protoc-c REQUIRED)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_get_variable(PROTOBUF_C_PREFIX libprotobuf-c includedir)

add_custom_command(OUTPUT ${VD_PROTO_COPY}
  COMMAND ${CMAKE_COMMAND} -DIN=${VD_PROTO} -DOUT=${VD_PROTO_COPY} -P ${CMAKE_SOURCE_DIR}/cmake/annotate_proto.cmake
  DEPENDS ${VD_PROTO} ${CMAKE_SOURCE_DIR}/cmake/annotate_proto.cmake)
add_custom_command(OUTPUT ${VD_PROTO_DIR}/vectord/v1/vectord.pb-c.c ${VD_PROTO_DIR}/vectord/v1/vectord.pb-c.h
  COMMAND ${VD_PROTOC_C} -I${VD_PROTO_DIR} -I${PROTOBUF_C_PREFIX} --c_out=${VD_PROTO_DIR} vectord/v1/vectord.proto
  DEPENDS ${VD_PROTO_COPY})
add_library(vd_proto STATIC ${VD_PROTO_DIR}/vectord/v1/vectord.pb-c.c ${VD_PROTO_DIR}/vectord/v1/vectord.pb-c.h)
target_include_directories(vd_proto SYSTEM PUBLIC ${VD_PROTO_DIR})
target_link_libraries(vd_proto PUBLIC PkgConfig::PROTOBUF_C)
if(VD_SANITIZER)
  target_compile_options(vd_proto PRIVATE -fsanitize=${VD_SANITIZER})
endif()
