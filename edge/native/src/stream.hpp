// What a handle of the C interface stands for: an engine, its worker where it has one, and the aligned input.
#pragma once

#include <atomic>
#include <memory>

#include "engine.hpp"
#include "stemedge.h"
#include "worker.hpp"

namespace stemedge::core {

class Stream {
 public:
  // options: complete and checked. The graph lives as long as the stream.
  Stream(const Manifest& manifest, std::shared_ptr<Graph> graph, const stemedge_options& options);

  size_t inputs() const { return static_cast<size_t>(options_.channels); }
  size_t outputs() const { return engine_->outputs(); }
  size_t latency() const { return latency_; }
  const stemedge_options& options() const { return options_; }

  // On failure the output is silent and a Failure is thrown.
  void process(const float* const* in, float* const* out, size_t count);
  void flush(float* const* out);
  void reset();
  void set_attenuation_limit(double db) { dry_target_ = dry_gain(db); }
  void set_offline(bool offline) { offline_ = offline; }
  void count(stemedge_counters& counters) const;

 private:
  static float dry_gain(double db);
  void block(const float* const* in, float* const* out, size_t start, size_t count);
  size_t results(size_t count);
  void cover(size_t given, size_t count);
  void blend(size_t count);
  const float* dry(size_t plane);

  const stemedge_options options_;
  std::shared_ptr<Graph> graph_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Worker> worker_;
  const size_t latency_;
  Fifo delayed_;                        // the input, `latency` late
  std::vector<const float*> in_;        // the model's channels of a block
  std::vector<float*> out_;             // its outputs
  std::vector<float> last_;             // of each output, the last result that was in time
  float dry_gain_, dry_step_;           // share of the input in the output
  float presence_ = 1, presence_step_;  // of results; falls where they are late
  std::atomic<float> dry_target_;
  std::atomic<bool> offline_{false};
  std::atomic<uint64_t> frames_{0}, late_blocks_{0}, late_frames_{0};
};

}  // namespace stemedge::core
