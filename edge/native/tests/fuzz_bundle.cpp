// libFuzzer: the bundle reader on bytes that nobody vouches for, as a .edge file and as a manifest.
#include <string>

#include "bundle.hpp"
#include "failure.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    if (size && data[0] == '{')
      stemedge::core::parse_manifest(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
    else
      stemedge::core::Bundle::open(data, size);
  } catch (const stemedge::core::Failure&) {  // refused, as it should be
  }
  return 0;
}
