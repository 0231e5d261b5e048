// What the forms of separation share: the graph's planes, what goes around its run, and planes of the past.
#pragma once

#include "session.hpp"

namespace stemedge::core {

// Planes of equal length in one block of memory.
class Planes {
 public:
  Planes(size_t planes, size_t length) : planes_(planes), length_(length), values_(planes * length) {}
  float* operator[](size_t plane) { return values_.data() + plane * length_; }
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
  // Planes of the graph, `segment_` samples each.
  float* input(size_t channel) { return bound_->input() + channel * segment_; }
  float* stem(size_t plane) { return bound_->output() + plane * segment_; }

  // False where the model gave NaN or infinite samples: its states would stay poisoned, and start afresh.
  bool run();
  // An equal share of what the sum of the stems lacks of the mix is added to each; from `start` on. mix(c): channel c
  // there; `extra` is no part of it.
  template <typename Mix>
  void make_consistent(size_t start, size_t count, Mix mix, float extra) {
    const float share = static_cast<float>(sources_);
    float part[kRun];
    for (size_t c = 0; c < channels_; ++c)
      in_runs(count, [&](size_t at, size_t size) {
        const auto samples = [&](size_t source) { return stem(source * channels_ + c) + start + at; };
        std::copy_n(samples(0), size, part);
        for (size_t s = 1; s < sources_; ++s) add(samples(s), size, part);
        const float* whole = mix(c) + at;
        for (size_t i = 0; i < size; ++i) part[i] = (whole[i] - extra - part[i]) / share;
        for (size_t s = 0; s < sources_; ++s) add(part, size, samples(s));
      });
  }

  const size_t channels_, sources_, segment_;
  const bool consistent_;
  std::unique_ptr<Binding> bound_;

 private:
  static void add(const float* from, size_t count, float* to) {
    for (size_t i = 0; i < count; ++i) to[i] += from[i];
  }
};

std::unique_ptr<Session> new_overlap(const Manifest& manifest, Graph& graph, const SeparatorOptions& options);
// latency: in samples, at least 10 and at most the segment.
std::unique_ptr<Session> new_low_latency(const Manifest& manifest, Graph& graph, size_t latency, bool consistent);

}  // namespace stemedge::core
