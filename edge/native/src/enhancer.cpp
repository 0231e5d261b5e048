#include "session.hpp"

namespace stemedge::core {
namespace {

// As numpy.linspace, in double and then rounded.
std::vector<float> ramp(double from, double to, size_t count) {
  std::vector<float> values(count);
  const double step = count > 1 ? (to - from) / static_cast<double>(count - 1) : 0;
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(static_cast<double>(i) * step + from);
  if (count > 1) values.back() = static_cast<float>(to);
  return values;
}

// Channels in step, each through the graph on its own, hop by hop from zero state. The output fades to zero over the
// fifth silent hop in a row; until a hop is louder nothing is run and the states rest.
class Enhancer : public Session {
 public:
  Enhancer(const Manifest& m, Graph& graph, size_t channels)
      : hop_(static_cast<size_t>(m.hop)),
        delay_(static_cast<size_t>(m.delay)),
        silent_energy_(silent_energy(hop_)),
        fade_out_(ramp(1, 0, hop_)),
        fade_in_(ramp(0, 1, std::min(delay_, hop_))) {
    for (size_t c = 0; c < channels; ++c) lanes_.push_back({graph.bind(), 0});
    reset();
  }

  size_t inputs() const override { return lanes_.size(); }
  size_t outputs() const override { return lanes_.size(); }
  size_t hop() const override { return hop_; }
  size_t ready(size_t taken) const override {
    const size_t run = taken / hop_ * hop_;
    return run > delay_ ? run - delay_ : 0;
  }

  void process(const float* const* in, size_t count, Fifo& out) override {
    owed_ += count;
    for (size_t start = 0; start < count;) {
      const size_t taken = std::min(hop_ - fill_, count - start);
      for (size_t c = 0; c < lanes_.size(); ++c) std::copy_n(in[c] + start, taken, lanes_[c].binding->input() + fill_);
      fill_ += taken;
      start += taken;
      if (fill_ == hop_) run(out);
    }
  }

  void flush(Fifo& out) override {
    while (owed_ > 0) {
      for (Lane& lane : lanes_) std::fill_n(lane.binding->input() + fill_, hop_ - fill_, 0.0f);
      run(out);
    }
    reset();
  }

  void reset() override {
    for (Lane& lane : lanes_) {
      lane.binding->reset();
      lane.silent = 0;
    }
    fill_ = owed_ = 0;
    skip_ = delay_;  // the graph's first `delay` samples precede the input
  }

 private:
  struct Lane {
    std::unique_ptr<Binding> binding;
    int silent;  // hops in a row
  };

  void run(Fifo& out) {
    fill_ = 0;
    const size_t skipped = std::min(skip_, hop_);
    skip_ -= skipped;
    const size_t count = std::min(hop_ - skipped, owed_);
    out.reserve(count);
    for (size_t c = 0; c < lanes_.size(); ++c) {
      const float* enhanced = enhance(lanes_[c]);
      if (enhanced)
        std::copy_n(enhanced + skipped, count, out.write(c));
      else
        std::fill_n(out.write(c), count, 0.0f);
    }
    out.commit(count);
    owed_ -= count;
  }

  // The graph's output for the full frame; null for a silent one.
  const float* enhance(Lane& lane) {
    float* frame = lane.binding->input();
    ++counters_.hops;
    double energy = energy_of(frame, hop_);
    if (!(energy < double{kMaxSample})) {  // loud, or no audio
      counters_.bad_inputs += repair(frame, hop_);
      energy = energy_of(frame, hop_);
    }
    bool woken = lane.silent >= kSilentHops;
    if (energy < silent_energy_) {
      lane.silent = std::min(lane.silent + 1, kSilentHops + 1);
      if (woken) return nullptr;
    } else {
      lane.silent = 0;
    }
    lane.binding->run();
    ++counters_.inferences;
    float* enhanced = lane.binding->output();
    if (!is_audio(enhanced, hop_)) {
      ++counters_.bad_outputs;
      lane.binding->reset();
      return nullptr;
    }
    if (woken)
      for (size_t i = 0; i < fade_in_.size(); ++i) enhanced[i] *= fade_in_[i];
    else if (lane.silent == kSilentHops)
      for (size_t i = 0; i < hop_; ++i) enhanced[i] *= fade_out_[i];
    return enhanced;
  }

  const size_t hop_, delay_;
  const double silent_energy_;
  const std::vector<float> fade_out_, fade_in_;
  std::vector<Lane> lanes_;
  size_t fill_ = 0, skip_ = 0, owed_ = 0;
};

}  // namespace

std::unique_ptr<Session> new_enhancer(const Manifest& manifest, Graph& graph, size_t channels) {
  return std::make_unique<Enhancer>(manifest, graph, channels);
}

}  // namespace stemedge::core
