// Streaming sample-rate conversion, its delay compensated.
#pragma once

#include <memory>

#include "fifo.hpp"

namespace stemedge::core {

class Resampler {
 public:
  virtual ~Resampler() = default;
  // Appends what is ready to `out`.
  virtual void process(const float* const* in, size_t count, Fifo& out) = 0;
  virtual void flush(Fifo& out) = 0;  // the rest; spent until reset
  virtual void reset() = 0;
  virtual double longest_wait() const = 0;  // seconds that a sample is held back, at most
};

// By libsoxr, as edge.audio.Resampler. Throws Failure. Equal rates pass through.
std::unique_ptr<Resampler> new_soxr(int rate_in, int rate_out, size_t planes);
// By a short filter, as edge.runtime.lowdelay, which these samples are to the bit.
std::unique_ptr<Resampler> new_low_delay(int rate_in, int rate_out, size_t planes);

}  // namespace stemedge::core
