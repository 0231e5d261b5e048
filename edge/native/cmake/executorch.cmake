# ExecuTorch's C++ runtime out of the executorch wheel (1.5 and newer: headers, shared libraries, XNNPACK).
set(EXECUTORCH_SDK "" CACHE PATH "The folder `executorch` of the unpacked wheel, or of site-packages")
list(APPEND CMAKE_PREFIX_PATH ${EXECUTORCH_SDK}/share/cmake)
find_package(executorch CONFIG REQUIRED PATHS ${EXECUTORCH_SDK}/share/cmake NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
if(NOT EXECUTORCH_RUNTIME_LIBRARY_DIR)
  message(FATAL_ERROR "${EXECUTORCH_SDK} holds no C++ runtime: executorch 1.5 or newer is needed")
endif()
target_sources(stemedge_objects PRIVATE src/executorch.cpp)
# Below CMake 3.28 the package gives paths only, no targets.
target_include_directories(stemedge_objects SYSTEM PRIVATE ${EXECUTORCH_INCLUDE_DIRS})
set_source_files_properties(src/executorch.cpp PROPERTIES
  COMPILE_DEFINITIONS "${EXECUTORCH_COMPILE_DEFINITIONS};STEMEDGE_EXECUTORCH_VERSION=\"${EXECUTORCH_BUILD_VERSION}\""
  COMPILE_OPTIONS "-Wno-error;-w")
list(APPEND STEMEDGE_LIBRARIES -Wl,--no-as-needed ${EXECUTORCH_LIBRARIES} ${EXECUTORCH_QUANTIZED_KERNELS_LIBRARY}
  -Wl,--as-needed)
list(APPEND CMAKE_BUILD_RPATH ${EXECUTORCH_RUNTIME_LIBRARY_DIR})
list(APPEND CMAKE_INSTALL_RPATH ${EXECUTORCH_RUNTIME_LIBRARY_DIR})
