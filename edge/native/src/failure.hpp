// What goes wrong inside, on its way to the C boundary, where it becomes a status and one line.
#pragma once

#include <stdexcept>
#include <string>

#include "stemedge.h"

namespace stemedge::core {

struct Failure : std::runtime_error {
  Failure(stemedge_status code, const std::string& message) : std::runtime_error(message), status(code) {}
  stemedge_status status;
};

}  // namespace stemedge::core
