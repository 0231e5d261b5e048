// Streams over a graph in the file form, at the model's rate: what comes out is aligned with the input (see
// edge.runtime.streams and edge.runtime.lowlatency, which these equal to the bit).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "backend.hpp"
#include "fifo.hpp"
#include "samples.hpp"

namespace stemedge::core {

inline constexpr int kSilentHops = 5;  // after so many silent hops the output is zero and nothing is run

struct Counters {  // written by the thread that runs the model
  std::atomic<uint64_t> hops{0}, inferences{0}, bad_inputs{0}, bad_outputs{0};
};

class Session {
 public:
  virtual ~Session() = default;
  virtual size_t inputs() const = 0;
  virtual size_t outputs() const = 0;
  virtual size_t hop() const = 0;
  // How many samples are out when `taken` are in.
  virtual size_t ready(size_t taken) const = 0;
  // Appends what is ready to `out`.
  virtual void process(const float* const* in, size_t count, Fifo& out) = 0;
  // Appends the rest, so that as much came out as went in; reset afterwards.
  virtual void flush(Fifo& out) = 0;
  virtual void reset() = 0;
  Counters& counters() { return counters_; }

 protected:
  Counters counters_;
};

struct SeparatorOptions {
  double latency = 0;              // seconds, 0: the model's segment
  double mean = 0, deviation = 0;  // of the whole recording, where `whole`
  bool whole = false;
  bool consistent = false;
};

std::unique_ptr<Session> new_enhancer(const Manifest& manifest, Graph& graph, size_t channels);
// Throws Failure(STEMEDGE_BAD_ARGUMENT) for a latency that the model does not have.
std::unique_ptr<Session> new_separator(const Manifest& manifest, Graph& graph, const SeparatorOptions& options);

}  // namespace stemedge::core
