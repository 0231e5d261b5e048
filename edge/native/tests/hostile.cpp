// A caller that does everything wrong gets error codes and no crash; run it under the sanitizers.
// usage: hostile BUNDLE
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "stemedge.h"

namespace {

int failures = 0;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "FAILED: %s (last error: %s)\n", what, stemedge_last_error());
  ++failures;
}
#define EXPECT(condition) expect(condition, #condition)

struct Audio {
  Audio(const stemedge_stream_info& info, size_t block)
      : in(block, 0.1f),
        out(block * static_cast<size_t>(info.outputs)),
        from(static_cast<size_t>(info.inputs), in.data()) {
    for (int p = 0; p < info.outputs; ++p) to.push_back(out.data() + static_cast<size_t>(p) * block);
  }
  std::vector<float> in, out;
  std::vector<const float*> from;
  std::vector<float*> to;
};

stemedge_stream_info info_of(stemedge_stream* stream) {
  stemedge_stream_info info{sizeof info, 0, 0, 0, 0, 0};
  EXPECT(stemedge_stream_get_info(stream, &info) == STEMEDGE_OK);
  return info;
}

template <typename Handle>
Handle* invented(uintptr_t value) {
  return reinterpret_cast<Handle*>(value);
}

void arguments(const char* path) {
  stemedge_bundle* bundle = nullptr;
  EXPECT(stemedge_bundle_open(nullptr, &bundle) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_bundle_open(path, nullptr) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_bundle_open("/nowhere", &bundle) == STEMEDGE_BAD_BUNDLE && !bundle);
  EXPECT(stemedge_bundle_open("/dev/null", &bundle) == STEMEDGE_BAD_BUNDLE);
  EXPECT(stemedge_bundle_open("", &bundle) == STEMEDGE_BAD_BUNDLE);
  EXPECT(stemedge_bundle_get_info(nullptr, nullptr) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_bundle_open(path, &bundle) == STEMEDGE_OK);
  EXPECT(stemedge_bundle_get_info(bundle, nullptr) == STEMEDGE_BAD_ARGUMENT);
  stemedge_bundle_info info{};
  EXPECT(stemedge_bundle_get_info(bundle, &info) == STEMEDGE_BAD_ARGUMENT);  // struct_size is 0
  info.struct_size = 8;  // an older, shorter struct: what follows is not touched
  info.sample_rate = -1;
  EXPECT(stemedge_bundle_get_info(bundle, &info) == STEMEDGE_OK && info.sample_rate == -1);
  char text[4];
  size_t needed = 0;
  EXPECT(stemedge_bundle_get_name(bundle, text, sizeof text, &needed) == STEMEDGE_OK && std::strlen(text) == 3);
  EXPECT(needed > 4);
  EXPECT(stemedge_bundle_get_name(bundle, nullptr, 3, &needed) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_bundle_get_name(bundle, nullptr, 0, nullptr) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_bundle_get_source(bundle, -1, text, sizeof text, nullptr) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_bundle_get_source(bundle, 1 << 30, text, sizeof text, nullptr) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_bundle_check(bundle, 77, 1, nullptr) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_bundle_check(bundle, 0, 0, nullptr) == STEMEDGE_BAD_ARGUMENT);

  EXPECT(stemedge_options_init(nullptr, 8) == STEMEDGE_BAD_ARGUMENT);
  stemedge_options options;
  EXPECT(stemedge_options_init(&options, 1 << 20) == STEMEDGE_BAD_ARGUMENT);
  stemedge_stream* stream = nullptr;
  EXPECT(stemedge_stream_open(bundle, nullptr, nullptr) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_stream_open(nullptr, nullptr, &stream) == STEMEDGE_BAD_ARGUMENT);
  const auto refused = [&](auto change) {
    EXPECT(stemedge_options_init(&options, sizeof options) == STEMEDGE_OK);
    change(options);
    EXPECT(stemedge_stream_open(bundle, &options, &stream) == STEMEDGE_BAD_ARGUMENT && !stream);
  };
  refused([](stemedge_options& o) { o.struct_size = 0; });
  refused([](stemedge_options& o) { o.threads = -1; });
  refused([](stemedge_options& o) { o.backend = -5; });
  refused([](stemedge_options& o) { o.sample_rate = 1; });
  refused([](stemedge_options& o) { o.sample_rate = INT32_MIN; });
  refused([](stemedge_options& o) { o.channels = INT32_MAX; });
  refused([](stemedge_options& o) { o.channels = -1; });
  refused([](stemedge_options& o) { o.latency = 1e300; });
  refused([](stemedge_options& o) { o.latency = NAN; });
  refused([](stemedge_options& o) { o.attenuation_limit = NAN; });
  refused([](stemedge_options& o) { o.attenuation_limit = -1; });
  refused([](stemedge_options& o) { o.mean = 0; });
  EXPECT(stemedge_bundle_close(bundle) == STEMEDGE_OK);
  EXPECT(stemedge_bundle_close(bundle) == STEMEDGE_CLOSED);
  info.struct_size = sizeof info;
  EXPECT(stemedge_bundle_get_info(bundle, &info) == STEMEDGE_CLOSED);
  EXPECT(stemedge_stream_open(bundle, nullptr, &stream) == STEMEDGE_CLOSED);
  for (const uintptr_t value : {uintptr_t{1}, uintptr_t{8}, uintptr_t{16}, uintptr_t{0xdeadbeef}, ~uintptr_t{0}}) {
    EXPECT(stemedge_bundle_close(invented<stemedge_bundle>(value)) == STEMEDGE_CLOSED);
    EXPECT(stemedge_stream_process(invented<stemedge_stream>(value), nullptr, nullptr, 1) == STEMEDGE_CLOSED);
  }
}

void stream_arguments(stemedge_stream* stream) {
  const stemedge_stream_info info = info_of(stream);
  Audio audio(info, 256);
  EXPECT(stemedge_stream_process(stream, nullptr, audio.to.data(), 256) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_stream_process(stream, audio.from.data(), nullptr, 256) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_stream_process(stream, nullptr, nullptr, 0) == STEMEDGE_OK);
  EXPECT(stemedge_stream_process(stream, audio.from.data(), audio.to.data(), SIZE_MAX) == STEMEDGE_BAD_ARGUMENT);
  std::vector<const float*> nulls(audio.from.size(), nullptr);
  EXPECT(stemedge_stream_process(stream, nulls.data(), audio.to.data(), 256) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_stream_flush(stream, nullptr) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_stream_get_counters(stream, nullptr) == STEMEDGE_BAD_ARGUMENT);
  EXPECT(stemedge_stream_set_attenuation_limit(stream, NAN) == STEMEDGE_BAD_ARGUMENT);
  for (const float value : {NAN, INFINITY, -INFINITY, 3e38f, 1e-40f}) {
    std::fill(audio.in.begin(), audio.in.end(), value);
    for (int i = 0; i < 8; ++i)
      EXPECT(stemedge_stream_process(stream, audio.from.data(), audio.to.data(), 256) == STEMEDGE_OK);
    EXPECT(std::all_of(audio.out.begin(), audio.out.end(), [](float sample) { return std::isfinite(sample); }));
  }
  EXPECT(stemedge_stream_reset(stream) == STEMEDGE_OK);
}

// Threads that fight over one stream while another closes it.
void threads(stemedge_bundle* bundle, int worker) {
  stemedge_options options;
  EXPECT(stemedge_options_init(&options, sizeof options) == STEMEDGE_OK);
  options.worker = worker;
  stemedge_stream* stream = nullptr;
  EXPECT(stemedge_stream_open(bundle, &options, &stream) == STEMEDGE_OK);
  if (!stream) return;
  const stemedge_stream_info info = info_of(stream);
  std::atomic<int> strange{0}, served{0};
  std::vector<std::thread> crowd;
  for (int t = 0; t < 3; ++t)
    crowd.emplace_back([&, t] {
      Audio audio(info, 100);
      for (;;) {
        stemedge_counters counters{};
        counters.struct_size = sizeof counters;
        const stemedge_status status = t == 2
                                           ? stemedge_stream_get_counters(stream, &counters)
                                           : stemedge_stream_process(stream, audio.from.data(), audio.to.data(), 100);
        if (status == STEMEDGE_CLOSED) return;
        if (status == STEMEDGE_OK)
          ++served;
        else if (status != STEMEDGE_BUSY)
          ++strange;
        std::this_thread::yield();
      }
    });
  while (served < 200) std::this_thread::yield();
  while (stemedge_stream_close(stream) == STEMEDGE_BUSY) std::this_thread::yield();
  for (std::thread& thread : crowd) thread.join();
  EXPECT(strange == 0);
  EXPECT(stemedge_stream_close(stream) == STEMEDGE_CLOSED);
}

// Visitors who come in while a stream is closed see it open or closed, never half gone.
void visitors(stemedge_bundle* bundle) {
  stemedge_stream* holder = nullptr;  // of the loaded graph
  EXPECT(stemedge_stream_open(bundle, nullptr, &holder) == STEMEDGE_OK);
  for (int round = 0; round < 200; ++round) {
    stemedge_stream* stream = nullptr;
    EXPECT(stemedge_stream_open(bundle, nullptr, &stream) == STEMEDGE_OK);
    std::atomic<int> strange{0};
    std::vector<std::thread> crowd;
    for (int t = 0; t < 2; ++t)
      crowd.emplace_back([&] {
        stemedge_counters counters{};
        counters.struct_size = sizeof counters;
        stemedge_status status = STEMEDGE_OK;
        while (status == STEMEDGE_OK) status = stemedge_stream_get_counters(stream, &counters);
        if (status != STEMEDGE_CLOSED) ++strange;
      });
    while (stemedge_stream_close(stream) == STEMEDGE_BUSY) std::this_thread::yield();
    for (std::thread& thread : crowd) thread.join();
    EXPECT(strange == 0);
  }
  EXPECT(stemedge_stream_close(holder) == STEMEDGE_OK);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: hostile BUNDLE\n");
    return 2;
  }
  arguments(argv[1]);
  stemedge_bundle* bundle = nullptr;
  EXPECT(stemedge_bundle_open(argv[1], &bundle) == STEMEDGE_OK);
  double snr = 0;
  EXPECT(stemedge_bundle_check(bundle, STEMEDGE_ANY_BACKEND, 1, &snr) == STEMEDGE_OK);
  for (const int rate : {0, 48000})
    for (const int worker : {0, 1}) {
      stemedge_options options;
      EXPECT(stemedge_options_init(&options, sizeof options) == STEMEDGE_OK);
      options.sample_rate = rate;
      options.worker = worker;
      stemedge_stream* stream = nullptr;
      EXPECT(stemedge_stream_open(bundle, &options, &stream) == STEMEDGE_OK);
      if (!stream) continue;
      stream_arguments(stream);
      Audio rest(info_of(stream), static_cast<size_t>(info_of(stream).latency));
      EXPECT(stemedge_stream_flush(stream, rest.to.data()) == STEMEDGE_OK);
      EXPECT(stemedge_stream_close(stream) == STEMEDGE_OK);
    }
  for (const int worker : {0, 1}) threads(bundle, worker);
  visitors(bundle);
  stemedge_stream* survivor = nullptr;
  EXPECT(stemedge_stream_open(bundle, nullptr, &survivor) == STEMEDGE_OK);
  EXPECT(stemedge_bundle_close(bundle) == STEMEDGE_OK);
  stream_arguments(survivor);  // the bundle is closed, the stream goes on
  EXPECT(stemedge_stream_close(survivor) == STEMEDGE_OK);
  std::puts(failures ? "FAILED" : "every mistake got its error code");
  return failures ? 1 : 0;
}
