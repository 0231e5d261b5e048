// A session in the live form at any rate: n samples in, n samples out, a constant latency later.
#pragma once

#include <memory>

#include "resample.hpp"
#include "session.hpp"

namespace stemedge::core {

class Engine {
 public:
  Engine(std::unique_ptr<Session> session, int model_rate, int rate, bool low_delay);

  size_t inputs() const { return session_->inputs(); }
  size_t outputs() const { return session_->outputs(); }
  size_t latency() const { return latency_; }  // samples at `rate`
  size_t hop() const { return hop_; }          // of the session, at `rate`
  Counters& counters() { return session_->counters(); }

  // At most kBlock samples.
  void process(const float* const* in, float* const* out, size_t count);
  // The last `latency` samples, appended to `out`; reset afterwards.
  void flush(Fifo& out);
  void reset();

  static constexpr size_t kBlock = 1024;

 private:
  size_t measured_latency(int model_rate, int rate);
  void run(Fifo& low);
  void give(Fifo& low);
  void limit();

  std::unique_ptr<Session> session_;
  std::unique_ptr<Resampler> down_, up_;
  const size_t hop_;
  const size_t latency_;
  Fifo low_in_, low_out_, queue_;  // at the model's rate; what is ready at `rate`
  size_t taken_ = 0, given_ = 0;   // samples at `rate` since the start, both without the latency
};

}  // namespace stemedge::core
