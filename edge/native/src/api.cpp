// The C boundary: checks every argument, lets no exception out.
#include <cmath>
#include <cstring>
#include <mutex>
#include <new>

#include "backend.hpp"
#include "failure.hpp"
#include "handles.hpp"
#include "stream.hpp"

namespace {

using namespace stemedge::core;

constexpr size_t kLongestBlock = size_t{1} << 24;
constexpr int kMaxChannels = 64, kMaxThreads = 256, kMaxRate = 768000, kMinRate = 1000;

// A bundle and its graphs as they were loaded, for all of its streams.
struct OpenBundle {
  std::shared_ptr<const Bundle> bundle;
  std::mutex mutex;
  std::map<std::pair<int, int>, std::weak_ptr<Graph>> graphs;  // by backend and threads
};

struct OpenStream {
  std::unique_ptr<Stream> stream;
  int backend;
  bool enhances;
};

Handles<OpenBundle, stemedge_bundle> bundles;
Handles<OpenStream, stemedge_stream> streams;

struct BundleEntry : Handles<OpenBundle, stemedge_bundle>::Entry {
  explicit BundleEntry(stemedge_bundle* handle) : Entry(bundles, handle, decltype(bundles)::Access::kShared) {}
};
struct StreamEntry : Handles<OpenStream, stemedge_stream>::Entry {
  explicit StreamEntry(stemedge_stream* handle) : Entry(streams, handle, decltype(streams)::Access::kAlone) {}
};
struct StreamVisit : Handles<OpenStream, stemedge_stream>::Entry {
  explicit StreamVisit(stemedge_stream* handle) : Entry(streams, handle, decltype(streams)::Access::kShared) {}
};

std::mutex library_mutex;
std::string library;

thread_local char last_error[512];

stemedge_status failed(stemedge_status status, const char* message) noexcept {
  std::strncpy(last_error, message, sizeof last_error - 1);
  for (char* c = last_error; *c; ++c)
    if (*c == '\n' || *c == '\r') *c = ' ';
  return status;
}

template <typename Body>
stemedge_status guarded(Body body) noexcept {
  try {
    body();
    return STEMEDGE_OK;
  } catch (const Failure& failure) {
    return failed(failure.status, failure.what());
  } catch (const std::bad_alloc&) {
    return failed(STEMEDGE_NO_MEMORY, "out of memory");
  } catch (const std::length_error&) {
    return failed(STEMEDGE_NO_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return failed(STEMEDGE_FAILED, error.what());
  } catch (...) {
    return failed(STEMEDGE_FAILED, "unknown failure");
  }
}

void need(bool condition, const char* message) {
  if (!condition) throw Failure(STEMEDGE_BAD_ARGUMENT, message);
}

// A struct of the caller's, of this or another version: only the fields that both know are written.
template <typename T>
void give(T* target, T values) {
  need(target, "the struct is null");
  const uint32_t size = target->struct_size;
  need(size >= sizeof(uint32_t) && size <= 4096, "struct_size is not set");
  values.struct_size = size;
  std::memcpy(static_cast<void*>(target), &values, std::min<size_t>(size, sizeof values));
}

void give_text(const std::string& value, char* text, size_t size, size_t* needed) {
  need(text || size == 0, "the text is null");
  if (needed) *needed = value.size() + 1;
  if (size == 0) {
    need(needed, "neither text nor needed is given");
    return;
  }
  const size_t count = std::min(size - 1, value.size());
  std::memcpy(text, value.data(), count);
  text[count] = 0;
}

const char* format_of(int backend) { return backend == STEMEDGE_ONNX ? "onnx" : "executorch"; }

int chosen(const Bundle& bundle, int backend) {
  need(backend >= STEMEDGE_ANY_BACKEND && backend <= STEMEDGE_EXECUTORCH, "unknown backend");
  const auto& graphs = bundle.manifest().graphs;
  if (backend == STEMEDGE_ANY_BACKEND) backend = graphs.count("onnx") ? STEMEDGE_ONNX : STEMEDGE_EXECUTORCH;
  if (!graphs.count(format_of(backend)))
    throw Failure(STEMEDGE_NO_BACKEND, bundle.path() + ": the bundle has no " + format_of(backend) + " graph (it has " +
                                           graphs.begin()->first + ")");
  return backend;
}

std::shared_ptr<Graph> graph_of(OpenBundle& open, int backend, int threads) {
  need(threads >= 1 && threads <= kMaxThreads, "threads must be 1 to 256");
  const std::lock_guard<std::mutex> graphs_lock(open.mutex);
  std::weak_ptr<Graph>& known = open.graphs[{backend, threads}];
  if (auto graph = known.lock()) return graph;
  std::string file;
  {
    const std::lock_guard<std::mutex> lock(library_mutex);
    file = library;
  }
  auto graph =
      backend == STEMEDGE_ONNX ? load_onnx(*open.bundle, threads, file) : load_executorch(*open.bundle, threads);
  known = graph;
  return graph;
}

stemedge_options defaults() {
  stemedge_options o{};
  o.struct_size = sizeof o;
  o.threads = 1;
  o.attenuation_limit = INFINITY;
  o.mean = o.deviation = NAN;
  return o;
}

void check_planes(const void* const* planes, size_t count, const char* message) {
  need(planes, message);
  for (size_t i = 0; i < count; ++i) need(planes[i], message);
}

stemedge_options complete(const stemedge_options* given, const Manifest& m) {
  stemedge_options o = defaults();
  if (given) {
    need(given->struct_size >= sizeof(uint32_t) && given->struct_size <= 4096,
         "options: struct_size is not set (see stemedge_options_init)");
    std::memcpy(static_cast<void*>(&o), given, std::min<size_t>(given->struct_size, sizeof o));
    o.struct_size = sizeof o;
  }
  if (o.sample_rate == 0) o.sample_rate = m.sample_rate;
  if (o.channels == 0) o.channels = m.channels;
  need(o.sample_rate >= kMinRate && o.sample_rate <= kMaxRate, "sample_rate must be 1000 to 768000 Hz");
  need(o.channels >= 1 && o.channels <= kMaxChannels, "channels must be 1 to 64");
  need(o.block >= 0 && o.block <= 1 << 20, "block must be 0 to 1048576 samples");
  need(o.attenuation_limit >= 0, "attenuation_limit must be 0 dB or more");
  need(std::isnan(o.mean) == std::isnan(o.deviation), "mean and deviation go together");
  need(std::isnan(o.mean) || (std::isfinite(o.mean) && std::isfinite(o.deviation) && o.deviation >= 0),
       "mean and deviation must be finite, deviation not negative");
  if (m.separates()) {
    need(std::isinf(o.attenuation_limit), "attenuation_limit is for enhancers");
    need(o.channels == 1 || o.channels >= m.channels, "the model needs more channels");
    need(std::isnan(o.mean) || o.latency == 0, "with mean and deviation the latency is the model's");
  } else {
    need(o.latency == 0, "the latency of an enhancer is fixed; only separation's can be chosen");
    need(!o.consistent, "consistent is for separators");
    need(std::isnan(o.mean), "mean and deviation are for separators");
  }
  return o;
}

}  // namespace

extern "C" {

uint32_t stemedge_abi_version(void) { return STEMEDGE_ABI_VERSION; }
const char* stemedge_version(void) { return STEMEDGE_VERSION; }
const char* stemedge_executorch_version(void) { return executorch_version(); }

const char* stemedge_status_text(stemedge_status status) {
  static const char* const texts[] = {"ok",     "bad argument", "bad bundle", "no such backend",
                                      "failed", "closed",       "busy",       "out of memory"};
  const auto index = static_cast<size_t>(static_cast<int>(status));
  return index < sizeof texts / sizeof *texts ? texts[index] : "unknown status";
}

const char* stemedge_last_error(void) { return last_error; }

stemedge_status stemedge_use_onnxruntime(const char* file) {
  return guarded([&] {
    need(file, "the library's name is null");
    const std::lock_guard<std::mutex> lock(library_mutex);
    library = file;
  });
}

stemedge_status stemedge_bundle_open(const char* path, stemedge_bundle** bundle) {
  return guarded([&] {
    need(path && bundle, "path or bundle is null");
    *bundle = nullptr;
    auto open = std::make_unique<OpenBundle>();
    open->bundle = std::make_shared<const Bundle>(Bundle::open(path));
    *bundle = bundles.add(std::move(open));
  });
}

stemedge_status stemedge_bundle_get_info(stemedge_bundle* handle, stemedge_bundle_info* info) {
  return guarded([&] {
    const BundleEntry entry(handle);
    const Manifest& m = entry->bundle->manifest();
    give(info, stemedge_bundle_info{0, m.separates() ? STEMEDGE_SEPARATE : STEMEDGE_ENHANCE, m.sample_rate, m.channels,
                                    static_cast<int32_t>(m.sources.size()), m.hop, m.segment, m.latency_samples,
                                    static_cast<int32_t>(m.graphs.count("onnx")),
                                    static_cast<int32_t>(m.graphs.count("executorch"))});
  });
}

stemedge_status stemedge_bundle_get_name(stemedge_bundle* handle, char* text, size_t size, size_t* needed) {
  return guarded([&] {
    const BundleEntry entry(handle);
    give_text(entry->bundle->manifest().name, text, size, needed);
  });
}

stemedge_status stemedge_bundle_get_source(stemedge_bundle* handle, int32_t index, char* text, size_t size,
                                           size_t* needed) {
  return guarded([&] {
    const BundleEntry entry(handle);
    const auto& sources = entry->bundle->manifest().sources;
    need(index >= 0 && static_cast<size_t>(index) < sources.size(), "no such source");
    give_text(sources[static_cast<size_t>(index)], text, size, needed);
  });
}

stemedge_status stemedge_bundle_get_manifest(stemedge_bundle* handle, char* text, size_t size, size_t* needed) {
  return guarded([&] {
    const BundleEntry entry(handle);
    give_text(entry->bundle->manifest().text, text, size, needed);
  });
}

stemedge_status stemedge_bundle_get_warning(stemedge_bundle* handle, char* text, size_t size, size_t* needed) {
  return guarded([&] {
    const BundleEntry entry(handle);
    give_text(entry->bundle->manifest().warning, text, size, needed);
  });
}

stemedge_status stemedge_bundle_check(stemedge_bundle* handle, int32_t backend, int32_t threads, double* snr_db) {
  return guarded([&] {
    const BundleEntry entry(handle);
    const int found = chosen(*entry->bundle, backend);
    const double snr = check_golden(*entry->bundle, format_of(found), *graph_of(*entry, found, threads));
    if (snr_db) *snr_db = snr;
  });
}

stemedge_status stemedge_bundle_close(stemedge_bundle* handle) {
  return guarded([&] { bundles.close(handle); });
}

stemedge_status stemedge_options_init(stemedge_options* options, uint32_t size) {
  return guarded([&] {
    need(options, "options is null");
    need(size >= sizeof(uint32_t) && size <= 4096, "size is not that of the options");
    stemedge_options values = defaults();
    values.struct_size = size;
    std::memset(static_cast<void*>(options), 0, size);
    std::memcpy(static_cast<void*>(options), &values, std::min<size_t>(size, sizeof values));
  });
}

stemedge_status stemedge_stream_open(stemedge_bundle* handle, const stemedge_options* options,
                                     stemedge_stream** stream) {
  return guarded([&] {
    need(stream, "stream is null");
    *stream = nullptr;
    const BundleEntry entry(handle);
    const Manifest& m = entry->bundle->manifest();
    const stemedge_options o = complete(options, m);
    const int backend = chosen(*entry->bundle, o.backend);
    auto open = std::make_unique<OpenStream>();
    open->backend = backend;
    open->enhances = !m.separates();
    open->stream = std::make_unique<Stream>(m, graph_of(*entry, backend, o.threads), o);
    *stream = streams.add(std::move(open));
  });
}

stemedge_status stemedge_stream_get_info(stemedge_stream* handle, stemedge_stream_info* info) {
  return guarded([&] {
    const StreamVisit entry(handle);
    const Stream& s = *entry->stream;
    give(info,
         stemedge_stream_info{0, s.options().sample_rate, static_cast<int32_t>(s.inputs()),
                              static_cast<int32_t>(s.outputs()), static_cast<int32_t>(s.latency()), entry->backend});
  });
}

stemedge_status stemedge_stream_get_counters(stemedge_stream* handle, stemedge_counters* counters) {
  return guarded([&] {
    const StreamVisit entry(handle);
    stemedge_counters values{};
    entry->stream->count(values);
    give(counters, values);
  });
}

stemedge_status stemedge_stream_process(stemedge_stream* handle, const float* const* in, float* const* out, size_t n) {
  return guarded([&] {
    const StreamEntry entry(handle);
    need(n <= kLongestBlock, "n is beyond 1 << 24");
    if (n == 0) return;
    check_planes(reinterpret_cast<const void* const*>(in), entry->stream->inputs(), "a plane of the input is null");
    check_planes(reinterpret_cast<const void* const*>(out), entry->stream->outputs(), "a plane of the output is null");
    entry->stream->process(in, out, n);
  });
}

stemedge_status stemedge_stream_flush(stemedge_stream* handle, float* const* out) {
  return guarded([&] {
    const StreamEntry entry(handle);
    check_planes(reinterpret_cast<const void* const*>(out), entry->stream->outputs(), "a plane of the output is null");
    entry->stream->flush(out);
  });
}

stemedge_status stemedge_stream_reset(stemedge_stream* handle) {
  return guarded([&] {
    const StreamEntry entry(handle);
    entry->stream->reset();
  });
}

stemedge_status stemedge_stream_set_attenuation_limit(stemedge_stream* handle, double db) {
  return guarded([&] {
    const StreamVisit entry(handle);
    need(db >= 0, "the limit must be 0 dB or more");
    need(entry->enhances, "the limit is for enhancers");
    entry->stream->set_attenuation_limit(db);
  });
}

stemedge_status stemedge_stream_set_offline(stemedge_stream* handle, int32_t offline) {
  return guarded([&] {
    const StreamVisit entry(handle);
    entry->stream->set_offline(offline != 0);
  });
}

stemedge_status stemedge_stream_close(stemedge_stream* handle) {
  return guarded([&] { streams.close(handle); });
}

}  // extern "C"
