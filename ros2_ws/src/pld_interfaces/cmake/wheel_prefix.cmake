# Used only when pip builds this package: the ROS packages then are wheels inside a Python prefix.
find_package(Python3 REQUIRED COMPONENTS Interpreter Development.Module)

execute_process(
  COMMAND ${Python3_EXECUTABLE} -W ignore -c
    "import pathlib, rosidl_cmake; print(pathlib.Path(rosidl_cmake.__file__).parents[4].as_posix())"
  OUTPUT_VARIABLE wheel_prefix
  OUTPUT_STRIP_TRAILING_WHITESPACE
  COMMAND_ERROR_IS_FATAL ANY)

set(ENV{AMENT_PREFIX_PATH} "${wheel_prefix}")
list(PREPEND CMAKE_PREFIX_PATH "${wheel_prefix}")

# The wheels' exported targets name include folders of the machine that built them.
function(drop_missing_include_directories)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT folders)
      continue()
    endif()
    set(present)
    foreach(folder IN LISTS folders)
      if(folder MATCHES "^\\$<" OR EXISTS "${folder}")
        list(APPEND present "${folder}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${present}")
  endforeach()
endfunction()
