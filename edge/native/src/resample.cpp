#include "resample.hpp"

#include <soxr.h>

#include "failure.hpp"

namespace stemedge::core {
namespace {

class Soxr : public Resampler {
 public:
  Soxr(int rate_in, int rate_out, size_t planes)
      : rate_in_(rate_in), rate_out_(rate_out), planes_(planes), from_(planes), to_(planes) {
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
  ~Soxr() override { soxr_delete(stream_); }
  Soxr(const Soxr&) = delete;
  Soxr& operator=(const Soxr&) = delete;

  void process(const float* const* in, size_t count, Fifo& out) override {
    if (count == 0) return;
    if (!stream_) return out.push(in, count);
    convert(in, count, out);
  }
  void flush(Fifo& out) override {
    if (stream_) convert(nullptr, 0, out);
  }
  void reset() override {
    if (stream_) soxr_clear(stream_);
  }

  // Its blocks are its own business: seen on silence.
  double longest_wait() const override {
    constexpr size_t step = 16;
    Soxr converter(rate_in_, rate_out_, 1);
    const std::vector<float> zeros(step);
    const float* in[] = {zeros.data()};
    Fifo out(1, 8192);
    double longest = 0;
    size_t given = 0;
    for (size_t taken = step; taken < 4 * static_cast<size_t>(rate_in_); taken += step) {
      longest = std::max(longest, static_cast<double>(taken) / rate_in_ - static_cast<double>(given) / rate_out_);
      converter.process(in, step, out);
      given += out.size();
      out.clear();
    }
    return longest;
  }

 private:
  void convert(const float* const* in, size_t count, Fifo& out) {
    const size_t room = static_cast<size_t>(static_cast<double>(count) * rate_out_ / rate_in_) + 4096;
    size_t taken = 0, given = 0;
    do {
      size_t used = 0;
      out.reserve(room);
      for (size_t p = 0; p < planes_; ++p) {
        from_[p] = in ? in[p] + taken : nullptr;
        to_[p] = out.write(p);
      }
      const soxr_error_t error = soxr_process(stream_, in ? static_cast<soxr_in_t>(from_.data()) : nullptr,
                                              count - taken, &used, static_cast<soxr_out_t>(to_.data()), room, &given);
      if (error) throw Failure(STEMEDGE_FAILED, std::string("sample-rate conversion failed: ") + error);
      out.commit(given);
      taken += used;
    } while (taken < count || given == room);
  }

  int rate_in_, rate_out_;
  size_t planes_;
  soxr* stream_ = nullptr;
  std::vector<const float*> from_;
  std::vector<float*> to_;
};

}  // namespace

std::unique_ptr<Resampler> new_soxr(int rate_in, int rate_out, size_t planes) {
  return std::make_unique<Soxr>(rate_in, rate_out, planes);
}

}  // namespace stemedge::core
