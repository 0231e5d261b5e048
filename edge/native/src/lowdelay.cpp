#include <cmath>
#include <cstdint>
#include <numeric>

#include "resample.hpp"

namespace stemedge::core {
namespace {

// As in edge.runtime.lowdelay, which says what they mean.
constexpr int64_t kHalf = 32;
constexpr double kCutoff = 0.935, kBeta = 6.76, kPi = 3.14159265358979323846;
constexpr int64_t kMaxPhases = 4096;

double bessel_i0(double x) {
  double sum = 1, term = 1;
  for (int k = 1; term > 1e-18 * sum; ++k) {
    term *= (x / (2 * k)) * (x / (2 * k));
    sum += term;
  }
  return sum;
}

double sinc(double x) { return x == 0 ? 1 : std::sin(kPi * x) / (kPi * x); }

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && a < 0); }

// Output sample k lies at input position k * down / up, and takes `reach` samples of each side.
class LowDelay : public Resampler {
 public:
  LowDelay(int rate_in, int rate_out, size_t planes)
      : rate_in_(rate_in),
        up_(rate_out / std::gcd(rate_in, rate_out)),
        down_(rate_in / std::gcd(rate_in, rate_out)),
        reach_((kHalf * rate_in + std::min(rate_in, rate_out) - 1) / std::min(rate_in, rate_out)),
        phases_(std::min(up_, kMaxPhases)),
        taps_(static_cast<size_t>(phases_ * 2 * reach_)),
        line_(planes, static_cast<size_t>(4 * reach_) + 8192) {
    const double low = static_cast<double>(std::min(rate_in, rate_out)) / rate_in;
    for (int64_t phase = 0; phase < phases_; ++phase)
      for (int64_t i = 0; i < 2 * reach_; ++i) {
        const double offset = static_cast<double>(i - (reach_ - 1));
        const double time = (offset - static_cast<double>(phase) / static_cast<double>(phases_)) * low;
        const double at = time / static_cast<double>(kHalf), inside = std::max(0.0, 1 - at * at);
        const double window = std::fabs(at) < 1 ? bessel_i0(kBeta * std::sqrt(inside)) / bessel_i0(kBeta) : 0;
        taps_[static_cast<size_t>(phase * 2 * reach_ + i)] =
            static_cast<float>(kCutoff * sinc(kCutoff * time) * window * low);
      }
    reset();
  }

  void process(const float* const* in, size_t count, Fifo& out) override {
    line_.push(in, count);
    received_ += static_cast<int64_t>(count);
    convert(-floor_div(-(received_ - reach_) * up_, down_), out);
  }
  void flush(Fifo& out) override {
    line_.push_zeros(static_cast<size_t>(2 * reach_ + down_));
    const double owed = static_cast<double>(received_ * up_) / static_cast<double>(down_);
    convert(std::max(std::min<int64_t>(received_, 1), static_cast<int64_t>(std::nearbyint(owed))), out);
  }
  void reset() override {
    line_.clear();
    line_.push_zeros(static_cast<size_t>(reach_ - 1));
    first_ = -(reach_ - 1);
    received_ = emitted_ = 0;
  }
  double longest_wait() const override { return static_cast<double>(reach_ + 1) / rate_in_; }

 private:
  // Output samples up to the `total`th.
  void convert(int64_t total, Fifo& out) {
    if (total <= emitted_) return;
    const auto count = static_cast<size_t>(total - emitted_);
    out.reserve(count);
    for (size_t p = 0; p < line_.planes(); ++p) {
      float* to = out.write(p);
      for (size_t i = 0; i < count; ++i) {
        const int64_t place = (emitted_ + static_cast<int64_t>(i)) * down_, base = place / up_;
        const int64_t phase = phases_ < up_ ? place % up_ * phases_ / up_ : place % up_;
        to[i] = sum(line_.read(p) + (base - (reach_ - 1) - first_), taps_.data() + phase * 2 * reach_);
      }
    }
    out.commit(count);
    emitted_ = total;
    const int64_t drop = total * down_ / up_ - (reach_ - 1) - first_;
    if (drop <= 0) return;
    line_.drop(static_cast<size_t>(drop));
    first_ += drop;
  }

  // In double, so that the order of additions does not show in the float.
  float sum(const float* samples, const float* taps) const {
    double sums[2] = {0, 0};
    for (int64_t i = 0; i < 2 * reach_; i += 2)
      for (int64_t k = 0; k < 2; ++k) sums[k] += double{samples[i + k]} * double{taps[i + k]};
    return static_cast<float>(sums[0] + sums[1]);
  }

  const int rate_in_;
  const int64_t up_, down_, reach_, phases_;
  std::vector<float> taps_;  // phase by phase
  Fifo line_;                // the input from index first_ on
  int64_t first_ = 0, received_ = 0, emitted_ = 0;
};

}  // namespace

std::unique_ptr<Resampler> new_low_delay(int rate_in, int rate_out, size_t planes) {
  if (rate_in == rate_out) return new_soxr(rate_in, rate_out, planes);
  return std::make_unique<LowDelay>(rate_in, rate_out, planes);
}

}  // namespace stemedge::core
