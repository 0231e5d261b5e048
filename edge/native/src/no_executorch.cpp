// Of a library that was built without ExecuTorch.
#include "backend.hpp"
#include "failure.hpp"

namespace stemedge::core {

std::shared_ptr<Graph> load_executorch(const Bundle&, int) {
  throw Failure(STEMEDGE_NO_BACKEND, "this library is built without ExecuTorch (STEMEDGE_EXECUTORCH=ON builds it in)");
}
const char* executorch_version() { return ""; }

}  // namespace stemedge::core
