#include "worker.hpp"

#include <chrono>

#include "denormals.hpp"
#include "failure.hpp"

namespace stemedge::core {
namespace {

void pause_briefly() { std::this_thread::sleep_for(std::chrono::microseconds(100)); }

}  // namespace

Worker::Worker(Engine& engine, size_t slack)
    : engine_(engine),
      slack_(slack),
      in_(engine.inputs(), 4 * slack + 64 * Engine::kBlock),
      out_(engine.outputs(), 8 * slack + 128 * Engine::kBlock),
      from_(engine.inputs(), Engine::kBlock),
      to_(engine.outputs(), Engine::kBlock),
      pointers_(std::max(engine.inputs(), engine.outputs())) {
  prime();
  thread_ = std::thread([this] { loop(); });
}

Worker::~Worker() {
  ending_ = true;
  wake_.post();
  thread_.join();
}

void Worker::prime() {
  out_.write(nullptr, slack_);
  lost_ = debt_ = 0;
}

size_t Worker::exchange(const float* const* in, float* const* out, size_t count) {
  if (const size_t zeros = std::min(lost_, in_.space())) {
    in_.write(nullptr, zeros);
    lost_ -= zeros;
  }
  if (lost_ == 0 && in_.space() >= count)
    in_.write(in, count);
  else
    lost_ += count;
  wake_.post();
  drop_late();
  const size_t given = debt_ ? 0 : std::min(count, out_.available());
  out_.read(out, given);
  debt_ += count - given;
  return given;
}

void Worker::exchange_all(const float* const* in, float* const* out, size_t count) {
  make_room(count);
  in_.write(in, count);
  wake_.post();
  drop_late();
  while (debt_ > 0 || out_.available() < count) {
    if (failed()) throw Failure(STEMEDGE_FAILED, failure_);
    pause_briefly();
    drop_late();
  }
  out_.read(out, count);
}

// Waits until the ring has taken the zeros of lost input and has room for `count` more.
void Worker::make_room(size_t count) {
  for (;;) {
    const size_t zeros = std::min(lost_, in_.space());
    in_.write(nullptr, zeros);
    lost_ -= zeros;
    if (failed()) throw Failure(STEMEDGE_FAILED, failure_);
    if (lost_ == 0 && in_.space() >= count) return;
    wake_.post();
    drop_late();  // the worker may wait for room in the other ring
    pause_briefly();
  }
}

void Worker::drop_late() {
  const size_t dropped = std::min(debt_, out_.available());
  out_.read(nullptr, dropped);
  debt_ -= dropped;
}

void Worker::loop() {
  const FlushDenormals flush;
  while (!ending_) {
    if (parking_) {
      parked_ = true;
      while (parking_ && !ending_) pause_briefly();
      parked_ = false;
    }
    if (!step()) wake_.wait();
  }
}

// One block; false where there is nothing to do.
bool Worker::step() {
  const size_t count = std::min(in_.available(), Engine::kBlock);
  if (count == 0 || failed() || parking_) return false;
  if (out_.space() < count) {  // nobody reads: wait
    pause_briefly();
    return true;
  }
  from_.clear();
  from_.reserve(count);
  to_.clear();
  to_.reserve(count);
  for (size_t p = 0; p < from_.planes(); ++p) pointers_[p] = from_.write(p);
  in_.read(pointers_.data(), count);
  from_.commit(count);
  for (size_t p = 0; p < to_.planes(); ++p) pointers_[p] = to_.write(p);
  try {
    engine_.process(from_.read(), pointers_.data(), count);
  } catch (const std::exception& error) {
    failure_ = error.what();
    failed_.store(true, std::memory_order_release);
    return false;
  }
  to_.commit(count);
  out_.write(to_.read(), count);
  return true;
}

// The worker stops between two blocks, and the engine is the caller's until `resume`.
void Worker::park() {
  parking_ = true;
  while (!parked_) {
    wake_.post();
    pause_briefly();
  }
}

void Worker::resume() {
  parking_ = false;
  while (parked_) pause_briefly();
}

void Worker::flush(Fifo& out) {
  make_room(0);
  while (in_.available() && !failed()) {
    wake_.post();
    pause_briefly();
    drop_late();
  }
  park();
  drop_late();
  const size_t count = out_.available();
  out.reserve(count);
  for (size_t p = 0; p < out.planes(); ++p) pointers_[p] = out.write(p);
  out_.read(pointers_.data(), count);
  out.commit(count);
  try {
    if (!failed()) engine_.flush(out);
  } catch (...) {
    resume();
    throw;
  }
  prime();
  resume();
  if (failed()) throw Failure(STEMEDGE_FAILED, failure_);
}

void Worker::reset() {
  park();
  in_.read(nullptr, in_.available());
  out_.read(nullptr, out_.available());
  engine_.reset();
  failed_ = false;
  prime();
  resume();
}

}  // namespace stemedge::core
