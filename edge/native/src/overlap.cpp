#include "separator.hpp"

namespace stemedge::core {
namespace {

// The apply loop of demucs: overlapping segments weighted by a triangle; a last segment that is not full is centred in
// the audio around it.
class OverlapSeparator : public Separator {
 public:
  OverlapSeparator(const Manifest& m, Graph& graph, const SeparatorOptions& options)
      : Separator(m, graph, options.consistent),
        hop_(static_cast<size_t>(m.hop)),
        past_(segment_ / 2),
        mean_(static_cast<float>(options.mean)),
        scale_(static_cast<float>(options.deviation + 1e-8)),
        weight_(segment_),
        weights_(1, segment_),
        audio_(channels_, past_ + segment_),
        sum_(outputs(), segment_) {
    const size_t half = segment_ / 2, most = std::max(half, segment_ - half);
    for (size_t i = 0; i < segment_; ++i)
      weight_[i] = static_cast<float>(static_cast<double>(i < half ? i + 1 : segment_ - i) / static_cast<double>(most));
    reset();
  }

  size_t hop() const override { return hop_; }
  size_t ready(size_t taken) const override { return taken < segment_ ? 0 : ((taken - segment_) / hop_ + 1) * hop_; }

  void process(const float* const* in, size_t count, Fifo& out) override {
    for (size_t start = 0; start < count;) {
      const size_t taken = std::min(segment_ - fill_, count - start), at = past_ + fill_;
      for (size_t c = 0; c < channels_; ++c) {
        float* samples = audio_[c] + at;
        std::copy_n(in[c] + start, taken, samples);
        counters_.bad_inputs += repair(samples, taken);
        for (size_t i = 0; i < taken; ++i) samples[i] = (samples[i] - mean_) / scale_;
      }
      fill_ += taken;
      start += taken;
      if (fill_ == segment_) run_segment(out);
    }
  }

  void flush(Fifo& out) override {
    while (fill_ > 0) run_segment(out);
    reset();
  }

  void reset() override {
    bound_->reset();
    audio_.zero();
    sum_.zero();
    weights_.zero();
    fill_ = 0;
  }

 private:
  void run_segment(Fifo& out) {
    const size_t length = fill_, before = (segment_ - length) / 2, filled = before + length;
    for (size_t c = 0; c < channels_; ++c) {
      std::copy_n(audio_[c] + past_ - before, filled, input(c));
      std::fill_n(input(c) + filled, segment_ - filled, 0.0f);
    }
    ++counters_.hops;
    const bool silent = is_silent(filled) || !run();
    if (!silent && consistent_) {
      // in normalised terms: every stem gets the mean back, the mix has it once
      const float extra = static_cast<float>(sources_ - 1) * mean_ / scale_;
      make_consistent(before, length, [&](size_t c) { return input(c) + before; }, extra);
    }
    float *weights = weights_[0], nothing = -mean_ / scale_;
    for (size_t p = 0; p < outputs(); ++p) {
      float *sum = sum_[p], *stems = stem(p) + before;
      if (silent) std::fill_n(stems, length, nothing);
      for (size_t i = 0; i < length; ++i) sum[i] += weight_[i] * stems[i];
    }
    for (size_t i = 0; i < length; ++i) weights[i] += weight_[i];
    const size_t ready = std::min(hop_, length);
    out.reserve(ready);
    for (size_t p = 0; p < outputs(); ++p) {
      float *sum = sum_[p], *to = out.write(p);
      for (size_t i = 0; i < ready; ++i) to[i] = sum[i] / weights[i] * scale_ + mean_;
    }
    out.commit(ready);
    sum_.shift(hop_);
    weights_.shift(hop_);
    audio_.shift(hop_);
    fill_ = length - ready;
  }

  // Of the segment in the graph's input, at the recording's scale.
  bool is_silent(size_t count) {
    for (size_t c = 0; c < channels_; ++c) {
      const float* samples = input(c);
      const double energy = energy_of(count, [=](size_t i) { return samples[i] * scale_ + mean_; });
      if (!(energy < silent_energy(count))) return false;
    }
    return true;
  }

  const size_t hop_, past_;  // past_: real audio kept before the current offset, for the last segments
  const float mean_, scale_;
  std::vector<float> weight_;
  Planes weights_, audio_, sum_;
  size_t fill_ = 0;  // samples from the current offset on
};

}  // namespace

std::unique_ptr<Session> new_overlap(const Manifest& manifest, Graph& graph, const SeparatorOptions& options) {
  return std::make_unique<OverlapSeparator>(manifest, graph, options);
}

}  // namespace stemedge::core
