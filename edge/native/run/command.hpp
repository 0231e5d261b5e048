// What the parts of stemedge-run share.
#pragma once

#include <stdexcept>
#include <string>

#include "stemedge.hpp"

namespace stemedge::run {

enum ExitCode { kSuccess = 0, kFailure = 1, kUsage = 2, kInterrupted = 130 };

// Ends the command with one line.
struct Stop : std::runtime_error {
  Stop(ExitCode exit_code, const std::string& message) : std::runtime_error(message), code(exit_code) {}
  ExitCode code;
};

struct Command {
  std::string bundle, input, output, source, raw;
  stemedge_backend backend = STEMEDGE_ANY_BACKEND;
  int threads = 1, rate = 0, channels = 1;
  double latency = 0, limit = 0;
  bool limited = false, consistent = false, check = false, info = false;
};

// The options of a stream for `rate` Hz and `channels`.
stemedge_options stream_options(const Command& command, int rate, int channels);
// The index of command.source; -1 where none is named. Stops for one that the bundle has not.
int source_index(const Command& command, const Model& model);
// Stops once the user has interrupted.
void check_interrupted();
// Stops where the model gave NaN or infinite samples.
void refuse_bad_results(const Stream& stream, const std::string& name);

void run_file(const Command& command, const Model& model);
void run_pipe(const Command& command, const Model& model);

}  // namespace stemedge::run
