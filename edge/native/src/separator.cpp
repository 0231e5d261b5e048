#include "separator.hpp"

#include <cmath>

#include "failure.hpp"

namespace stemedge::core {
namespace {

constexpr double kMinLatency = 0.1;  // seconds; below it the graph has no context to look ahead into

}  // namespace

bool Separator::run() {
  bound_->run();
  ++counters_.inferences;
  if (is_audio(bound_->output(), outputs() * segment_)) return true;
  ++counters_.bad_outputs;
  bound_->reset();
  return false;
}

std::unique_ptr<Session> new_separator(const Manifest& m, Graph& graph, const SeparatorOptions& options) {
  if (options.whole) return new_overlap(m, graph, options);
  const double longest = static_cast<double>(m.segment) / m.sample_rate;
  const double latency = options.latency == 0 ? longest : options.latency;
  if (!(latency >= kMinLatency && latency <= longest))
    throw Failure(STEMEDGE_BAD_ARGUMENT, m.name + ": a latency of " + std::to_string(latency) +
                                             " s is outside 0.1 to " + std::to_string(longest) + " s");
  const auto samples = static_cast<size_t>(std::nearbyint(latency * m.sample_rate));
  if (samples < 10 || samples > static_cast<size_t>(m.segment))
    throw Failure(STEMEDGE_BAD_ARGUMENT, m.name + ": its sample rate and segment leave no latency to choose");
  return new_low_latency(m, graph, samples, options.consistent);
}

}  // namespace stemedge::core
