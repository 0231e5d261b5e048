#include <cmath>

#include "separator.hpp"
#include "statistics.hpp"

namespace stemedge::core {
namespace {

constexpr double kMemorySeconds = 60;  // of the running normalisation
constexpr double kWarmSeconds = 1;     // of typical audio, with which it starts
constexpr double kWarmDeviation = 0.1;

// Of about the last minute. It starts as if it had heard a second of typical audio, so that the first quiet samples are
// not blown up.
class RunningStatistics : public Statistics {
 public:
  explicit RunningStatistics(int rate) : most_(std::nearbyint(kMemorySeconds * rate)) {
    count = std::nearbyint(kWarmSeconds * rate);
    squares_ = kWarmDeviation * kWarmDeviation * count;
  }
  void forget() {
    if (count <= most_) return;
    squares_ *= most_ / count;
    apart_ *= most_ / count;
    count = most_;
  }

 private:
  double most_;
};

// Overlapping segments that end in the present: of each run's stems the last `lookahead` samples are left to the next
// runs; the `hop` before them come out, crossfaded with the run before.
class LowLatencySeparator : public Separator {
 public:
  LowLatencySeparator(const Manifest& m, Graph& graph, size_t latency, bool consistent)
      : Separator(m, graph, consistent),
        hop_(latency / 2),
        crossfade_(latency / 10),
        lookahead_(latency - hop_ - crossfade_),
        audio_(channels_, segment_),
        tail_(outputs(), crossfade_),
        rate_(m.sample_rate),
        statistics_(rate_) {
    for (size_t i = 0; i < crossfade_; ++i)
      rise_.push_back(static_cast<float>(static_cast<double>(i) * (1.0 / static_cast<double>(crossfade_))));
    reset();
  }

  size_t hop() const override { return hop_; }
  size_t ready(size_t taken) const override {
    const size_t run = taken / hop_ * hop_, skip = lookahead_ + crossfade_;
    return run > skip ? run - skip : 0;
  }

  void process(const float* const* in, size_t count, Fifo& out) override {
    owed_ += count;
    for (size_t start = 0; start < count;) {
      const size_t taken = std::min(hop_ - fill_, count - start);
      for (size_t c = 0; c < channels_; ++c) std::copy_n(in[c] + start, taken, newest(c) + fill_);
      fill_ += taken;
      start += taken;
      if (fill_ == hop_) run_hop(out);
    }
  }

  void flush(Fifo& out) override {
    while (owed_ > 0) {
      for (size_t c = 0; c < channels_; ++c) std::fill_n(newest(c) + fill_, hop_ - fill_, 0.0f);
      run_hop(out);
    }
    reset();
  }

  void reset() override {
    bound_->reset();
    statistics_ = RunningStatistics(rate_);
    audio_.zero();
    tail_.zero();
    fill_ = owed_ = 0;
    skip_ = lookahead_ + crossfade_;
  }

 private:
  float* newest(size_t channel) { return audio_[channel] + segment_ - hop_; }

  void run_hop(Fifo& out) {
    const size_t end = segment_ - lookahead_, start = end - hop_ - crossfade_;
    if (!separate(start, end))
      for (size_t p = 0; p < outputs(); ++p) std::fill(stem(p) + start, stem(p) + end, 0.0f);
    const size_t skipped = std::min(skip_, hop_), count = std::min(hop_ - skipped, owed_);
    skip_ -= skipped;
    out.reserve(count);
    for (size_t p = 0; p < outputs(); ++p) {
      float *stems = stem(p), *first = stems + start, *tail = tail_[p];
      for (size_t i = 0; i < crossfade_; ++i) first[i] = tail[i] + rise_[i] * (first[i] - tail[i]);
      std::copy_n(first + skipped, count, out.write(p));
      std::copy_n(stems + end - crossfade_, crossfade_, tail);
    }
    out.commit(count);
    owed_ -= count;
    audio_.shift(hop_);
    fill_ = 0;
  }

  // The stems of the newest segment, at the input's scale from `start` to `end`; false: silence.
  bool separate(size_t start, size_t end) {
    ++counters_.hops;
    for (size_t c = 0; c < channels_; ++c) counters_.bad_inputs += repair(newest(c), hop_);
    statistics_.update(channels_, fill_, [&](size_t c) { return newest(c); });  // not the zeros of a flush
    statistics_.forget();
    if (is_silent()) return false;
    const float scale = static_cast<float>(statistics_.deviation() + 1e-8);  // the graph takes the mean away
    for (size_t c = 0; c < channels_; ++c) {
      float *samples = audio_[c], *to = input(c);
      for (size_t i = 0; i < segment_; ++i) to[i] = samples[i] / scale;
    }
    if (!run()) return false;
    for (size_t p = 0; p < outputs(); ++p) {
      float* stems = stem(p);
      for (size_t i = start; i < end; ++i) stems[i] *= scale;
    }
    if (consistent_) make_consistent(start, end - start, [&](size_t c) { return audio_[c] + start; }, 0);
    return true;
  }

  bool is_silent() {
    for (size_t c = 0; c < channels_; ++c)
      if (!(energy_of(audio_[c], segment_) < silent_energy(segment_))) return false;
    return true;
  }

  const size_t hop_, crossfade_, lookahead_;
  Planes audio_, tail_;
  std::vector<float> rise_;
  const int rate_;
  RunningStatistics statistics_;
  size_t fill_ = 0, skip_ = 0, owed_ = 0;
};

}  // namespace

std::unique_ptr<Session> new_low_latency(const Manifest& manifest, Graph& graph, size_t latency, bool consistent) {
  return std::make_unique<LowLatencySeparator>(manifest, graph, latency, consistent);
}

}  // namespace stemedge::core
