// Planar float queues: one for a thread alone, one between two threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

namespace stemedge::core {

// Of one thread. Takes memory only when more is queued than ever before (and than was reserved).
class Fifo {
 public:
  Fifo(size_t planes, size_t capacity) : planes_(planes, std::vector<float>(capacity)), pointers_(planes) {}

  size_t planes() const { return planes_.size(); }
  size_t size() const { return end_ - start_; }
  const float* read(size_t plane) const { return planes_[plane].data() + start_; }
  const float* const* read() {
    for (size_t p = 0; p < planes_.size(); ++p) pointers_[p] = planes_[p].data() + start_;
    return pointers_.data();
  }
  void drop(size_t count) { start_ += count; }
  void truncate(size_t size) { end_ = start_ + std::min(size, this->size()); }
  void clear() { start_ = end_ = 0; }

  // Room for `count` more behind the end: write there, then `commit` what was written.
  void reserve(size_t count) {
    if (planes_.empty() || end_ + count <= planes_[0].size()) return;
    const size_t queued = size();
    for (auto& plane : planes_) {
      std::memmove(plane.data(), plane.data() + start_, queued * sizeof(float));
      if (queued + count > plane.size()) plane.resize(queued + count);
    }
    start_ = 0;
    end_ = queued;
  }
  float* write(size_t plane) { return planes_[plane].data() + end_; }
  void commit(size_t count) { end_ += count; }
  void push(const float* const* in, size_t count) {
    reserve(count);
    for (size_t p = 0; p < planes_.size(); ++p) std::copy_n(in[p], count, write(p));
    commit(count);
  }
  void push_zeros(size_t count) {
    reserve(count);
    for (size_t p = 0; p < planes_.size(); ++p) std::fill_n(write(p), count, 0.0f);
    commit(count);
  }

 private:
  std::vector<std::vector<float>> planes_;
  std::vector<const float*> pointers_;
  size_t start_ = 0, end_ = 0;
};

// From one writing thread to one reading thread; neither ever waits.
class Ring {
 public:
  Ring(size_t planes, size_t capacity) : planes_(planes, std::vector<float>(capacity)), capacity_(capacity) {}

  size_t available() const { return written_.load(std::memory_order_acquire) - read_.load(std::memory_order_relaxed); }
  size_t space() const {
    return capacity_ - (written_.load(std::memory_order_relaxed) - read_.load(std::memory_order_acquire));
  }
  // At most space(); null: zeros.
  void write(const float* const* in, size_t count) {
    const size_t at = written_.load(std::memory_order_relaxed);
    spans(at, count, [&](size_t ring, size_t block, size_t size) {
      for (size_t p = 0; p < planes_.size(); ++p)
        in ? void(std::copy_n(in[p] + block, size, planes_[p].data() + ring))
           : void(std::fill_n(planes_[p].data() + ring, size, 0.0f));
    });
    written_.store(at + count, std::memory_order_release);
  }
  // At most available(); null: dropped.
  void read(float* const* out, size_t count) {
    const size_t at = read_.load(std::memory_order_relaxed);
    if (out)
      spans(at, count, [&](size_t ring, size_t block, size_t size) {
        for (size_t p = 0; p < planes_.size(); ++p) std::copy_n(planes_[p].data() + ring, size, out[p] + block);
      });
    read_.store(at + count, std::memory_order_release);
  }

 private:
  template <typename Body>
  void spans(size_t at, size_t count, Body body) const {
    const size_t first = std::min(count, capacity_ - at % capacity_);
    if (first) body(at % capacity_, 0, first);
    if (count > first) body(0, first, count - first);
  }

  std::vector<std::vector<float>> planes_;
  const size_t capacity_;
  std::atomic<size_t> written_{0}, read_{0};
};

}  // namespace stemedge::core
