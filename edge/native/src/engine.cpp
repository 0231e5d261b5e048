#include "engine.hpp"

#include <cmath>

#include "failure.hpp"

namespace stemedge::core {
namespace {

size_t scaled(size_t samples, int from, int to) {
  return static_cast<size_t>(std::ceil(static_cast<double>(samples) * to / from));
}

std::unique_ptr<Resampler> converter(int from, int to, size_t planes, bool low_delay) {
  return low_delay ? new_low_delay(from, to, planes) : new_soxr(from, to, planes);
}

}  // namespace

Engine::Engine(std::unique_ptr<Session> session, int model_rate, int rate, bool low_delay)
    : session_(std::move(session)),
      down_(converter(rate, model_rate, session_->inputs(), low_delay)),
      up_(converter(model_rate, rate, session_->outputs(), low_delay)),
      hop_(scaled(session_->hop(), model_rate, rate)),
      latency_(measured_latency(model_rate, rate)),
      low_in_(inputs(), scaled(2 * kBlock, rate, model_rate) + 4096),
      low_out_(outputs(), session_->hop() + scaled(2 * kBlock, rate, model_rate)),
      queue_(outputs(), 2 * latency_ + 2 * hop_ + 4 * kBlock + 8192) {
  reset();
}

// No sample waits longer: in the session, which follows from its hops, and in the converters. Each one's longest
// counts: where hops and libsoxr's blocks are out of step, they meet sooner or later.
size_t Engine::measured_latency(int model_rate, int rate) {
  size_t longest = 0;
  for (size_t in = 1, out = 0; out < 4 * session_->hop(); ++in) {
    longest = std::max(longest, in > out ? in - out : 0);
    out = session_->ready(in);
  }
  if (model_rate == rate) return longest;
  const double waits = static_cast<double>(longest) * rate / model_rate + down_->longest_wait() * rate +
                       up_->longest_wait() * rate;
  return static_cast<size_t>(std::ceil(waits));
}

void Engine::process(const float* const* in, float* const* out, size_t count) {
  taken_ += count;
  down_->process(in, count, low_in_);
  run(low_in_);
  limit();
  if (queue_.size() < count) throw Failure(STEMEDGE_FAILED, "a result came later than the latency; this is a bug");
  for (size_t p = 0; p < outputs(); ++p) std::copy_n(queue_.read(p), count, out[p]);
  queue_.drop(count);
}

// Everything queued at the model's rate through the session and up again.
void Engine::run(Fifo& low) {
  session_->process(low.read(), low.size(), low_out_);
  low.clear();
  give(low_out_);
}

void Engine::give(Fifo& low) {
  const size_t before = queue_.size();
  up_->process(low.read(), low.size(), queue_);
  given_ += queue_.size() - before;
  low.clear();
}

// Only the end can be too long: no output precedes the input that it is made of.
void Engine::limit() {
  if (given_ <= taken_) return;
  queue_.truncate(queue_.size() - (given_ - taken_));
  given_ = taken_;
}

void Engine::flush(Fifo& out) {
  down_->flush(low_in_);
  run(low_in_);
  session_->flush(low_out_);
  give(low_out_);
  const size_t before = queue_.size();
  up_->flush(queue_);
  given_ += queue_.size() - before;
  limit();
  queue_.push_zeros(taken_ - given_);  // resampling there and back may round by a few samples
  out.push(queue_.read(), queue_.size());
  reset();
}

void Engine::reset() {
  session_->reset();
  down_->reset();
  up_->reset();
  low_in_.clear();
  low_out_.clear();
  queue_.clear();
  queue_.push_zeros(latency_);
  taken_ = given_ = 0;
}

}  // namespace stemedge::core
