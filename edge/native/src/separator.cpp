#include <cmath>

#include "failure.hpp"
#include "session.hpp"
#include "statistics.hpp"

namespace stemedge::core {
namespace {

constexpr double kMinLatency = 0.1;    // seconds; below it the graph has no context to look ahead into
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

// Planes of equal length in one block of memory.
class Planes {
 public:
  Planes(size_t planes, size_t length) : planes_(planes), length_(length), values_(planes * length) {}
  float* operator[](size_t plane) { return values_.data() + plane * length_; }
  size_t count() const { return planes_; }
  void zero() { std::fill(values_.begin(), values_.end(), 0.0f); }
  // Moves everything `hop` samples to the past; zeros follow.
  void shift(size_t hop) {
    for (size_t p = 0; p < planes_; ++p) {
      float* plane = (*this)[p];
      std::memmove(plane, plane + hop, (length_ - hop) * sizeof(float));
      std::fill_n(plane + length_ - hop, hop, 0.0f);
    }
  }

 private:
  size_t planes_, length_;
  std::vector<float> values_;
};

// Whether the RMS is below -80 dBFS in every channel.
template <typename Sample>
bool is_silent(size_t channels, size_t count, Sample sample) {
  for (size_t c = 0; c < channels; ++c) {
    double energy = 0;
    for (size_t i = 0; i < count; ++i) energy += double{sample(c, i)} * double{sample(c, i)};
    if (!(energy < kSilence * kSilence * static_cast<double>(count))) return false;
  }
  return true;
}

class Separator : public Session {
 public:
  Separator(const Manifest& m, Graph& graph, bool consistent)
      : channels_(static_cast<size_t>(m.channels)),
        sources_(m.sources.size()),
        segment_(static_cast<size_t>(m.segment)),
        consistent_(consistent),
        bound_(graph.bind()) {}

  size_t inputs() const override { return channels_; }
  size_t outputs() const override { return sources_ * channels_; }

 protected:
  float* input(size_t channel) { return bound_->input() + channel * segment_; }
  float* stem(size_t plane) { return bound_->output() + plane * segment_; }

  // Zero the samples of `audio` that no audio has.
  void repair(float* audio, size_t count) {
    for (size_t i = 0; i < count; ++i)
      if (!(std::fabs(audio[i]) < kMaxSample)) {
        audio[i] = 0;
        ++counters_.bad_inputs;
      }
  }

  // False where the model gave NaN or infinite samples: its states would stay poisoned, and start afresh.
  bool run() {
    bound_->run();
    ++counters_.inferences;
    if (is_audio(bound_->output(), sources_ * channels_ * segment_)) return true;
    ++counters_.bad_outputs;
    bound_->reset();
    return false;
  }

  // An equal share of what the sum of the stems lacks of the mix is added to each.
  template <typename Mix>
  void make_consistent(Mix mix) {
    const float share = static_cast<float>(sources_);
    for (size_t c = 0; c < channels_; ++c)
      for (size_t i = 0; i < segment_; ++i) {
        float sum = stem(c)[i];
        for (size_t s = 1; s < sources_; ++s) sum += stem(s * channels_ + c)[i];
        const float part = (mix(c, i) - sum) / share;
        for (size_t s = 0; s < sources_; ++s) stem(s * channels_ + c)[i] += part;
      }
  }

  const size_t channels_, sources_, segment_;
  const bool consistent_;
  std::unique_ptr<Binding> bound_;
};

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
        std::copy_n(in[c] + start, taken, audio_[c] + at);
        repair(audio_[c] + at, taken);
        for (size_t i = at; i < at + taken; ++i) audio_[c][i] = (audio_[c][i] - mean_) / scale_;
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
    const bool silent =
        is_silent(channels_, filled, [&](size_t c, size_t i) { return input(c)[i] * scale_ + mean_; }) || !run();
    if (!silent && consistent_) {
      // in normalised terms: every stem gets the mean back, the mix has it once
      const float extra = static_cast<float>(sources_ - 1) * mean_ / scale_;
      make_consistent([&](size_t c, size_t i) { return input(c)[i] - extra; });
    }
    const float nothing = -mean_ / scale_;
    for (size_t p = 0; p < outputs(); ++p)
      for (size_t i = 0; i < length; ++i) sum_[p][i] += weight_[i] * (silent ? nothing : stem(p)[before + i]);
    for (size_t i = 0; i < length; ++i) weights_[0][i] += weight_[i];
    const size_t ready = std::min(hop_, length);
    out.reserve(ready);
    for (size_t p = 0; p < outputs(); ++p)
      for (size_t i = 0; i < ready; ++i) out.write(p)[i] = sum_[p][i] / weights_[0][i] * scale_ + mean_;
    out.commit(ready);
    sum_.shift(hop_);
    weights_.shift(hop_);
    audio_.shift(hop_);
    fill_ = length - ready;
  }

  const size_t hop_, past_;  // past_: real audio kept before the current offset, for the last segments
  const float mean_, scale_;
  std::vector<float> weight_;
  Planes weights_, audio_, sum_;
  size_t fill_ = 0;  // samples from the current offset on
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
    if (!separate()) std::fill_n(bound_->output(), outputs() * segment_, 0.0f);
    const size_t end = segment_ - lookahead_, start = end - hop_ - crossfade_;
    const size_t skipped = std::min(skip_, hop_), count = std::min(hop_ - skipped, owed_);
    skip_ -= skipped;
    out.reserve(count);
    for (size_t p = 0; p < outputs(); ++p) {
      float *first = stem(p) + start, *tail = tail_[p];
      for (size_t i = 0; i < crossfade_; ++i) first[i] = tail[i] + rise_[i] * (first[i] - tail[i]);
      std::copy_n(first + skipped, count, out.write(p));
      std::copy_n(stem(p) + end - crossfade_, crossfade_, tail);
    }
    out.commit(count);
    owed_ -= count;
    audio_.shift(hop_);
    fill_ = 0;
  }

  // The stems of the newest segment at the input's scale; false: silence.
  bool separate() {
    ++counters_.hops;
    for (size_t c = 0; c < channels_; ++c) repair(newest(c), hop_);
    // not the zeros of a flush
    statistics_.update(channels_, fill_, [&](size_t c, size_t i) { return newest(c)[i]; });
    statistics_.forget();
    if (is_silent(channels_, segment_, [&](size_t c, size_t i) { return audio_[c][i]; })) return false;
    const float scale = static_cast<float>(statistics_.deviation() + 1e-8);  // the graph takes the mean away
    for (size_t c = 0; c < channels_; ++c)
      for (size_t i = 0; i < segment_; ++i) input(c)[i] = audio_[c][i] / scale;
    if (!run()) return false;
    for (size_t i = 0; i < outputs() * segment_; ++i) bound_->output()[i] *= scale;
    if (consistent_) make_consistent([&](size_t c, size_t i) { return audio_[c][i]; });
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

std::unique_ptr<Session> new_separator(const Manifest& m, Graph& graph, const SeparatorOptions& options) {
  if (options.whole) return std::make_unique<OverlapSeparator>(m, graph, options);
  const double longest = static_cast<double>(m.segment) / m.sample_rate;
  const double latency = options.latency == 0 ? longest : options.latency;
  if (!(latency >= kMinLatency && latency <= longest))
    throw Failure(STEMEDGE_BAD_ARGUMENT, m.name + ": a latency of " + std::to_string(latency) +
                                             " s is outside 0.1 to " + std::to_string(longest) + " s");
  const auto samples = static_cast<size_t>(std::nearbyint(latency * m.sample_rate));
  if (samples < 10 || samples > static_cast<size_t>(m.segment))
    throw Failure(STEMEDGE_BAD_ARGUMENT, m.name + ": its sample rate and segment leave no latency to choose");
  return std::make_unique<LowLatencySeparator>(m, graph, samples, options.consistent);
}

}  // namespace stemedge::core
