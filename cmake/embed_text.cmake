# Writes a C++ fragment `{"name", R"twinstep(...)twinstep"},` per input file. Run by `cmake -P`.
string(REPLACE " " ";" INPUTS "${INPUTS}")
set(out "")
foreach(input ${INPUTS})
  get_filename_component(name ${input} NAME_WE)
  file(READ ${input} text)
  string(APPEND out "{\"${name}\", R\"twinstep(${text})twinstep\"},\n")
endforeach()
file(WRITE ${OUTPUT} "${out}")
