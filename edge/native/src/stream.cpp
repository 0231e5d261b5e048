#include "stream.hpp"

#include <cmath>

#include "denormals.hpp"
#include "failure.hpp"

namespace stemedge::core {
namespace {

constexpr double kGainSeconds = 0.02;    // from one attenuation limit to another
constexpr double kCoverSeconds = 0.005;  // between results and the input in place of late ones

std::unique_ptr<Engine> new_engine(const Manifest& m, Graph& graph, const stemedge_options& o) {
  std::unique_ptr<Session> session;
  if (m.separates()) {
    SeparatorOptions options{o.latency, o.mean, o.deviation, !std::isnan(o.mean), o.consistent != 0};
    session = new_separator(m, graph, options);
  } else {
    session = new_enhancer(m, graph, static_cast<size_t>(o.channels));
  }
  return std::make_unique<Engine>(std::move(session), m.sample_rate, o.sample_rate, o.low_delay != 0);
}

// A hop to compute, and a block of the caller's, in which nothing can be read.
size_t slack(const Engine& engine, int block) {
  return engine.hop() + (block ? static_cast<size_t>(block) : engine.hop());
}

}  // namespace

Stream::Stream(const Manifest& manifest, std::shared_ptr<Graph> graph, const stemedge_options& options)
    : options_(options),
      graph_(std::move(graph)),
      engine_(new_engine(manifest, *graph_, options)),
      worker_(options.worker ? std::make_unique<Worker>(*engine_, slack(*engine_, options.block)) : nullptr),
      latency_(engine_->latency() + (worker_ ? worker_->slack() : 0)),
      delayed_(inputs(), 2 * latency_ + 4 * Engine::kBlock),
      in_(engine_->inputs()),
      out_(engine_->outputs()),
      last_(engine_->outputs()),
      dry_gain_(dry_gain(options.attenuation_limit)),
      dry_step_(static_cast<float>(1 / (kGainSeconds * options.sample_rate))),
      presence_step_(static_cast<float>(1 / (kCoverSeconds * options.sample_rate))),
      dry_target_(dry_gain_) {
  delayed_.push_zeros(latency_);
}

float Stream::dry_gain(double db) { return static_cast<float>(std::pow(10.0, -db / 20)); }

void Stream::process(const float* const* in, float* const* out, size_t count) {
  const FlushDenormals flush;
  size_t start = 0;
  try {
    for (; start < count; start += std::min(Engine::kBlock, count - start))
      block(in, out, start, std::min(Engine::kBlock, count - start));
  } catch (...) {
    for (size_t p = 0; p < outputs(); ++p) std::fill_n(out[p] + start, count - start, 0.0f);
    throw;
  }
  frames_.fetch_add(count, std::memory_order_relaxed);
}

void Stream::block(const float* const* in, float* const* out, size_t start, size_t count) {
  // A separator repeats mono and takes the first of more channels than it has.
  for (size_t c = 0; c < in_.size(); ++c) in_[c] = in[inputs() == 1 ? 0 : c] + start;
  delayed_.reserve(count);
  for (size_t c = 0; c < inputs(); ++c)  // without what no audio has: it may be heard
    std::transform(in[c] + start, in[c] + start + count, delayed_.write(c),
                   [](float sample) { return is_bad(sample) ? 0.0f : sample; });
  delayed_.commit(count);
  for (size_t p = 0; p < out_.size(); ++p) out_[p] = out[p] + start;
  const size_t given = results(count);
  cover(given, count);
  blend(count);
  delayed_.drop(count);
}

// Fills out_ as far as results are there; returns how far.
size_t Stream::results(size_t count) {
  if (!worker_) {
    engine_->process(in_.data(), out_.data(), count);
    return count;
  }
  if (worker_->failed()) throw Failure(STEMEDGE_FAILED, worker_->failure());
  if (!offline_) return worker_->exchange(in_.data(), out_.data(), count);
  worker_->exchange_all(in_.data(), out_.data(), count);
  return count;
}

const float* Stream::dry(size_t plane) {
  const size_t channel = plane % in_.size();
  return delayed_.read(inputs() == 1 ? 0 : channel);
}

// The input of the same moment in place of results that are late, with short fades; stems share it.
void Stream::cover(size_t given, size_t count) {
  if (given == count && presence_ == 1) {
    for (size_t p = 0; p < out_.size(); ++p) last_[p] = out_[p][count - 1];
    return;
  }
  if (given < count) {
    late_blocks_.fetch_add(1, std::memory_order_relaxed);
    late_frames_.fetch_add(count - given, std::memory_order_relaxed);
  }
  const float share = static_cast<float>(in_.size()) / static_cast<float>(out_.size());
  float presence = presence_;
  for (size_t p = 0; p < out_.size(); ++p) {
    const float* input = dry(p);
    presence = presence_;
    for (size_t i = 0; i < count; ++i) {
      presence = i < given ? std::min(1.0f, presence + presence_step_) : std::max(0.0f, presence - presence_step_);
      if (i < given) last_[p] = out_[p][i];
      const float other = share * input[i];
      out_[p][i] = presence == 1 ? last_[p] : other + presence * (last_[p] - other);
    }
  }
  presence_ = presence;
}

// The attenuation limit: a share of the aligned input. All of it leaves the input untouched, none the results.
void Stream::blend(size_t count) {
  const float target = dry_target_.load(std::memory_order_relaxed);
  if (dry_gain_ == 0 && target == 0) return;
  float gain = dry_gain_;
  for (size_t p = 0; p < out_.size(); ++p) {
    const float* input = dry(p);
    gain = dry_gain_;
    for (size_t i = 0; i < count; ++i) {
      gain = gain < target ? std::min(target, gain + dry_step_) : std::max(target, gain - dry_step_);
      out_[p][i] = gain == 1 ? input[i] : gain * input[i] + (1 - gain) * out_[p][i];
    }
  }
  dry_gain_ = gain;
}

void Stream::flush(float* const* out) {
  const FlushDenormals flush;
  for (size_t p = 0; p < outputs(); ++p) std::fill_n(out[p], latency_, 0.0f);
  Fifo rest(outputs(), latency_ + engine_->hop() + 4096);
  worker_ ? worker_->flush(rest) : engine_->flush(rest);
  for (size_t start = 0; start < latency_;) {
    const size_t count = std::min(Engine::kBlock, latency_ - start), given = std::min(count, rest.size());
    for (size_t p = 0; p < out_.size(); ++p) {
      out_[p] = out[p] + start;
      std::copy_n(rest.read(p), given, out_[p]);
    }
    rest.drop(given);
    cover(count, count);
    blend(count);
    delayed_.drop(count);
    start += count;
  }
  delayed_.clear();
  delayed_.push_zeros(latency_);
  presence_ = 1;
}

void Stream::reset() {
  worker_ ? worker_->reset() : engine_->reset();
  delayed_.clear();
  delayed_.push_zeros(latency_);
  presence_ = 1;
}

void Stream::count(stemedge_counters& counters) const {
  const Counters& session = engine_->counters();
  counters.frames = frames_;
  counters.hops = session.hops;
  counters.inferences = session.inferences;
  counters.bad_inputs = session.bad_inputs;
  counters.bad_outputs = session.bad_outputs;
  counters.late_blocks = late_blocks_;
  counters.late_frames = late_frames_;
}

}  // namespace stemedge::core
