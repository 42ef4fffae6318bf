# See proto.cmake. cmake -DIN=published.proto -DOUT=copy.proto -P annotate_proto.cmake
# Comments go first (the published file keeps them), so that no word in a comment can look like a field.
file(READ "${IN}" text)
string(REGEX REPLACE "//[^\n]*" "" text "${text}")
string(REGEX REPLACE "package vectord.v1;" "package vectord.v1;\nimport \"protobuf-c/protobuf-c.proto\";" text "${text}")
string(REGEX REPLACE "optional ([A-Za-z0-9]+) ([a-z_0-9]+) = ([0-9]+);" "oneof _\\2 { \\1 \\2 = \\3; }" text "${text}")
string(REGEX REPLACE "string ([a-z_0-9]+) = ([0-9]+);" "string \\1 = \\2 [(pb_c_field).string_as_bytes = true];" text "${text}")
file(WRITE "${OUT}" "${text}")
