// Wakes a waiting thread; posting takes no lock.
#pragma once

#ifdef __APPLE__
#include <dispatch/dispatch.h>
#else
#include <semaphore.h>
#endif

namespace stemedge::core {

class Signal {
 public:
#ifdef __APPLE__
  Signal() : semaphore_(dispatch_semaphore_create(0)) {}
  ~Signal() { dispatch_release(semaphore_); }
  void post() { dispatch_semaphore_signal(semaphore_); }
  void wait() { dispatch_semaphore_wait(semaphore_, DISPATCH_TIME_FOREVER); }
#else
  Signal() { sem_init(&semaphore_, 0, 0); }
  ~Signal() { sem_destroy(&semaphore_); }
  void post() { sem_post(&semaphore_); }
  void wait() {
    while (sem_wait(&semaphore_) != 0) {
    }
  }
#endif
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

 private:
#ifdef __APPLE__
  dispatch_semaphore_t semaphore_;
#else
  sem_t semaphore_;
#endif
};

}  // namespace stemedge::core
