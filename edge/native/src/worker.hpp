// Runs an engine in a thread of its own. The calling thread only moves samples to and from rings.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "engine.hpp"
#include "signal.hpp"

namespace stemedge::core {

class Worker {
 public:
  Worker(Engine& engine, size_t slack);  // slack: samples of zeros ahead, the time that the worker has
  ~Worker();

  size_t slack() const { return slack_; }
  // count samples in; how many came out is returned, those that are `due` and no more (the rest is late). Never waits.
  size_t exchange(const float* const* in, float* const* out, size_t count);
  // The same, waiting for the worker; throws Failure where the model failed.
  void exchange_all(const float* const* in, float* const* out, size_t count);
  // The last samples, appended to `out`. Waits.
  void flush(Fifo& out);
  void reset();
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  const std::string& failure() const { return failure_; }  // once failed

 private:
  void loop();
  bool step();
  void park();
  void resume();
  void prime();
  void make_room(size_t count);
  void drop_late();

  Engine& engine_;
  const size_t slack_;
  Ring in_, out_;
  Fifo from_, to_;
  std::vector<float*> pointers_;
  size_t lost_ = 0;  // input that found the ring full: zeros take its place, so that nothing shifts
  size_t debt_ = 0;  // samples that came too late and are dropped when they come
  Signal wake_;
  std::atomic<bool> parking_{false}, parked_{false}, ending_{false}, failed_{false};
  std::string failure_;
  std::thread thread_;
};

}  // namespace stemedge::core
