// Counts what `process` takes of the system while it runs: memory (malloc and its kin, new), mutexes, reads and writes.
// usage: realtime BUNDLE [onnx|executorch]   fails where a stream with a worker takes anything
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "stemedge.h"

namespace {

thread_local bool counting = false;
thread_local long allocations = 0, locks = 0, transfers = 0;

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

void* malloc(size_t size) noexcept {
  allocations += counting;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) noexcept {
  allocations += counting;
  return __libc_calloc(count, size);
}
void* realloc(void* old, size_t size) noexcept {
  allocations += counting;
  return __libc_realloc(old, size);
}
void* memalign(size_t alignment, size_t size) noexcept {
  allocations += counting;
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) noexcept {
  allocations += counting;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) noexcept {
  allocations += counting;
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}
void free(void* memory) noexcept {
  allocations += counting && memory;
  __libc_free(memory);
}
int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static const auto real = next<int (*)(pthread_mutex_t*)>("pthread_mutex_lock");
  locks += counting;
  return real(mutex);
}
ssize_t read(int file, void* data, size_t size) {
  static const auto real = next<ssize_t (*)(int, void*, size_t)>("read");
  transfers += counting;
  return real(file, data, size);
}
ssize_t write(int file, const void* data, size_t size) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
  transfers += counting;
  return real(file, data, size);
}
}

namespace {

void check(stemedge_status status) {
  if (status == STEMEDGE_OK) return;
  std::fprintf(stderr, "realtime: error: %s\n", stemedge_last_error());
  std::exit(2);
}

struct Taken {
  long allocations, locks, transfers;
};

// calls of `process` after the first, blocks of `block` samples, slower or faster than the worker as it comes.
Taken count(stemedge_bundle* bundle, int backend, int worker, int rate, size_t block, int calls) {
  stemedge_options options;
  check(stemedge_options_init(&options, sizeof options));
  options.backend = backend;
  options.worker = worker;
  options.sample_rate = rate;
  stemedge_stream* stream;
  check(stemedge_stream_open(bundle, &options, &stream));
  stemedge_stream_info info{sizeof info, 0, 0, 0, 0, 0};
  check(stemedge_stream_get_info(stream, &info));
  std::vector<float> in(block), out(block * static_cast<size_t>(info.outputs));
  std::vector<const float*> from(static_cast<size_t>(info.inputs), in.data());
  std::vector<float*> to;
  for (int p = 0; p < info.outputs; ++p) to.push_back(out.data() + static_cast<size_t>(p) * block);
  const long before[] = {allocations, locks, transfers};
  for (int call = 0; call <= calls; ++call) {
    for (size_t i = 0; i < block; ++i)
      in[i] = 0.1f * static_cast<float>(std::sin(0.05 * static_cast<double>(static_cast<size_t>(call) * block + i)));
    counting = call > 0;
    const stemedge_status status = stemedge_stream_process(stream, from.data(), to.data(), block);
    counting = false;
    check(status);
    if (worker && call % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const Taken taken{allocations - before[0], locks - before[1], transfers - before[2]};
  stemedge_counters counters{};
  counters.struct_size = sizeof counters;
  check(stemedge_stream_get_counters(stream, &counters));
  std::printf(
      "%-7s %6d Hz, blocks of %4zu, %5d calls: %ld allocations, %ld mutexes, %ld reads and writes; %llu runs, %llu "
      "late\n",
      worker ? "worker" : "inline", info.sample_rate, block, calls, taken.allocations, taken.locks, taken.transfers,
      static_cast<unsigned long long>(counters.inferences), static_cast<unsigned long long>(counters.late_blocks));
  check(stemedge_stream_close(stream));
  return taken;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: realtime BUNDLE [onnx|executorch]\n");
    return 2;
  }
  stemedge_bundle* bundle;
  check(stemedge_bundle_open(argv[1], &bundle));
  const int backend = argc > 2 && !std::strcmp(argv[2], "executorch") ? STEMEDGE_EXECUTORCH : STEMEDGE_ANY_BACKEND;
  stemedge_bundle_info info{};
  info.struct_size = sizeof info;
  check(stemedge_bundle_get_info(bundle, &info));
  bool clean = true;
  for (const int rate : {0, 48000})
    for (const size_t block : {size_t{64}, size_t{480}}) {
      const Taken taken = count(bundle, backend, 1, rate, block, 10000);
      clean = clean && taken.allocations + taken.locks + taken.transfers == 0;
    }
  if (info.task == STEMEDGE_ENHANCE) count(bundle, backend, 0, 0, static_cast<size_t>(info.hop), 200);
  check(stemedge_bundle_close(bundle));
  std::puts(clean ? "the worker's stream takes nothing" : "FAILED: the worker's stream takes something of the system");
  return clean ? 0 : 1;
}
