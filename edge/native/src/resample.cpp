#include "resample.hpp"

#include <soxr.h>

#include "failure.hpp"

namespace stemedge::core {

Resampler::Resampler(int rate_in, int rate_out, size_t planes)
    : ratio_(static_cast<double>(rate_out) / rate_in), planes_(planes), from_(planes), to_(planes) {
  if (rate_in == rate_out) return;
  const soxr_io_spec_t format = soxr_io_spec(SOXR_FLOAT32_S, SOXR_FLOAT32_S);
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t one_thread = soxr_runtime_spec(1);
  soxr_error_t error = nullptr;
  stream_ = soxr_create(rate_in, rate_out, static_cast<unsigned>(planes), &error, &format, &quality, &one_thread);
  if (error || !stream_)
    throw Failure(STEMEDGE_BAD_ARGUMENT, "no conversion from " + std::to_string(rate_in) + " to " +
                                             std::to_string(rate_out) + " Hz: " + (error ? error : "no memory"));
}

Resampler::~Resampler() { soxr_delete(stream_); }

void Resampler::process(const float* const* in, size_t count, Fifo& out) {
  if (count == 0) return;
  if (!stream_) return out.push(in, count);
  convert(in, count, out);
}

void Resampler::flush(Fifo& out) {
  if (stream_) convert(nullptr, 0, out);
}

void Resampler::reset() {
  if (stream_) soxr_clear(stream_);
}

void Resampler::convert(const float* const* in, size_t count, Fifo& out) {
  const size_t room = static_cast<size_t>(static_cast<double>(count) * ratio_) + 4096;
  size_t taken = 0, given = 0;
  do {
    size_t used = 0;
    out.reserve(room);
    for (size_t p = 0; p < planes_; ++p) {
      from_[p] = in ? in[p] + taken : nullptr;
      to_[p] = out.write(p);
    }
    const soxr_error_t error = soxr_process(stream_, in ? static_cast<soxr_in_t>(from_.data()) : nullptr, count - taken,
                                            &used, static_cast<soxr_out_t>(to_.data()), room, &given);
    if (error) throw Failure(STEMEDGE_FAILED, std::string("sample-rate conversion failed: ") + error);
    out.commit(given);
    taken += used;
  } while (taken < count || given == room);
}

}  // namespace stemedge::core
