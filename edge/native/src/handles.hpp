// Handles that can be checked: a number in place of an address, so that a stale or invented one is found out, and one
// thread at a time inside. Entering takes no lock and no memory.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "failure.hpp"

namespace stemedge::core {

template <typename T, typename Handle>
class Handles {
 private:
  struct Slot {
    std::atomic<uintptr_t> word{0};  // age, visitors, kInside, kOpen
    std::unique_ptr<T> object;
  };
  static constexpr uintptr_t kOpen = 1, kInside = 2, kVisitor = 4, kVisitors = 0xFFC, kAge = 0x1000, kSlots = 1024;

 public:
  enum class Access { kShared, kAlone };  // kAlone: one thread at a time, beside any number of shared ones

  Handle* add(std::unique_ptr<T> object) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      if (slot.object) continue;
      slot.object = std::move(object);
      const uintptr_t age = slot.word.load() / kAge + 1;
      slot.word = age * kAge | kOpen;
      return reinterpret_cast<Handle*>((age * kSlots + i) << 4 | 8);  // misaligned for every struct, never null
    }
    throw Failure(STEMEDGE_NO_MEMORY, "1024 are open already; close some");
  }

  // Inside for as long as it lives. Throws Failure where the handle is stale or another thread is inside.
  class Entry {
   public:
    Entry(Handles& handles, Handle* handle, Access access)
        : slot_(handles.enter(handle, access == Access::kAlone ? kInside : kVisitor,
                              access == Access::kAlone ? kInside : 0)),
          mark_(access == Access::kAlone ? kInside : kVisitor) {}
    ~Entry() { slot_.word.fetch_sub(mark_, std::memory_order_release); }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    T* operator->() const { return slot_.object.get(); }
    T& operator*() const { return *slot_.object; }

   private:
    Slot& slot_;
    const uintptr_t mark_;
  };

  void close(Handle* handle) {
    std::unique_ptr<T> object;  // goes after the lock
    Slot& slot = enter(handle, kInside - kOpen, kInside | kVisitors);  // closed at once: no visitor comes in meanwhile
    const std::lock_guard<std::mutex> lock(mutex_);
    object = std::move(slot.object);
    slot.word.fetch_and(~kInside, std::memory_order_acq_rel);
  }

 private:
  // Adds `mark` to the slot's word; where one of `forbidden` is there already, it is busy.
  Slot& enter(Handle* handle, uintptr_t mark, uintptr_t forbidden) {
    const auto number = reinterpret_cast<uintptr_t>(handle);
    if (!handle) throw Failure(STEMEDGE_BAD_ARGUMENT, "the handle is null");
    if ((number & 15) != 8) throw Failure(STEMEDGE_CLOSED, "no such handle");
    Slot& slot = slots_[(number >> 4) % kSlots];
    const uintptr_t age = (number >> 4) / kSlots;
    uintptr_t word = slot.word.load(std::memory_order_acquire);
    do {
      if (word / kAge != age || !(word & kOpen))
        throw Failure(STEMEDGE_CLOSED, "the handle is of nothing that is open (used after close?)");
      if ((word & forbidden) || (word & kVisitors) == kVisitors)
        throw Failure(STEMEDGE_BUSY, "another thread is inside; use each stream from one thread at a time");
    } while (!slot.word.compare_exchange_weak(word, word + mark, std::memory_order_acq_rel));
    return slot;
  }

  std::mutex mutex_;  // of adding and closing
  std::array<Slot, kSlots> slots_;
};

}  // namespace stemedge::core
