// Streaming sample-rate conversion by libsoxr, its delay compensated, as edge.audio.Resampler has it.
#pragma once

#include <memory>

#include "fifo.hpp"

struct soxr;

namespace stemedge::core {

class Resampler {
 public:
  // Throws Failure. Equal rates pass through.
  Resampler(int rate_in, int rate_out, size_t planes);
  ~Resampler();
  // Appends what is ready to `out`.
  void process(const float* const* in, size_t count, Fifo& out);
  void flush(Fifo& out);  // the rest; spent until reset
  void reset();

 private:
  void convert(const float* const* in, size_t count, Fifo& out);

  double ratio_;
  size_t planes_;
  soxr* stream_ = nullptr;
  std::vector<const float*> from_;
  std::vector<float*> to_;
};

}  // namespace stemedge::core
