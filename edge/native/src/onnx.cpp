// ONNX Runtime by its C API, loaded when it is first needed: no link, and any version from kApiVersion on.
#include <dlfcn.h>
#include <onnxruntime_c_api.h>

#include <cstdlib>
#include <mutex>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "backend.hpp"
#include "failure.hpp"

namespace stemedge::core {
namespace {

constexpr uint32_t kApiVersion = 16;  // what is used here is older; the bundles' graphs need 1.18
// x86: blocks of 16 channels, mostly padding in pruned networks; ARM64 int8: transposes between every other layer
constexpr const char* kDisabled = "NchwcTransformer;NhwcTransformer";
#ifdef __APPLE__
constexpr const char* kLibraries[] = {"libonnxruntime.dylib", "libonnxruntime.1.dylib"};
#else
constexpr const char* kLibraries[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
#endif

struct Ort {
  const OrtApi* api = nullptr;
  OrtEnv* env = nullptr;
  OrtMemoryInfo* memory = nullptr;

  void check(OrtStatus* status) const {
    if (!status) return;
    std::string message = api->GetErrorMessage(status);
    api->ReleaseStatus(status);
    for (char& c : message)
      if (c == '\n' || c == '\r' || c == '\t') c = ' ';
    throw Failure(STEMEDGE_FAILED, message.substr(0, 300));
  }
};

void* open_library(const std::string& library) {
  std::vector<std::string> names(std::begin(kLibraries), std::end(kLibraries));
  const char* variable = std::getenv("STEMEDGE_ONNXRUNTIME");
  if (!library.empty())
    names = {library};
  else if (variable && *variable)
    names = {variable};
  std::string reason;
  for (const std::string& name : names) {
    if (void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
    const char* error = dlerror();
    reason = error ? error : name;
  }
  throw Failure(STEMEDGE_NO_BACKEND,
                "ONNX Runtime is not found (" + reason + "); install it, or name its library in STEMEDGE_ONNXRUNTIME");
}

// One environment for the process, never released: streams of other threads may outlive any place to do it.
const Ort& runtime(const std::string& library) {
  static std::mutex mutex;
  static Ort ort;
  const std::lock_guard<std::mutex> lock(mutex);
  if (ort.env) return ort;
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // on by default since 1.29; read when the environment is made
  void* handle = open_library(library);
  using Base = const OrtApiBase* (*)();
  const auto base = reinterpret_cast<Base>(dlsym(handle, "OrtGetApiBase"));
  Ort fresh;
  fresh.api = base ? base()->GetApi(kApiVersion) : nullptr;
  if (!fresh.api) {
    const std::string version = base ? base()->GetVersionString() : "unknown";
    throw Failure(STEMEDGE_NO_BACKEND, "ONNX Runtime " + version + " is too old; at least 1.18 is needed");
  }
  fresh.check(fresh.api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "stemedge", &fresh.env));
  fresh.check(fresh.api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &fresh.memory));
  ort = fresh;
  return ort;
}

// For graphs of segments, whose activations take more than their weights: what edge/backends/onnx.py sets, as far as the
// C API has it; see docs/memory.md.
void spare_memory(const Ort& ort, OrtSessionOptions* options) {
  static std::once_flag made;
  std::call_once(made, [&] {  // the process's allocator, unless the process has made one of its own
    const char* const keys[] = {"arena_extend_strategy", "initial_chunk_size_bytes", "max_dead_bytes_per_chunk"};
    const size_t values[] = {0, size_t{128} << 20, size_t{64} << 10};
    OrtArenaCfg* arena = nullptr;
    ort.check(ort.api->CreateArenaCfgV2(keys, values, 3, &arena));
    if (OrtStatus* status = ort.api->CreateAndRegisterAllocator(ort.env, ort.memory, arena))
      ort.api->ReleaseStatus(status);
    ort.api->ReleaseArenaCfg(arena);
  });
  ort.check(ort.api->DisableMemPattern(options));
  ort.check(ort.api->AddSessionConfigEntry(options, "session.use_env_allocators", "1"));
}

// What loading left free in glibc's heap.
void return_heap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

ONNXTensorElementDataType element_type(const std::string& dtype) {
  if (dtype == "float32") return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  if (dtype == "float16") return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
  if (dtype == "int64") return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  if (dtype == "int32") return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
  if (dtype == "int8") return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
  if (dtype == "uint8") return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
}

class OnnxGraph : public Graph, public std::enable_shared_from_this<OnnxGraph> {
 public:
  OnnxGraph(const Ort& ort, const Bundle& bundle, int threads)
      : ort_(ort), manifest_(bundle.manifest()), failure_(bundle.path() + ": " + manifest_.graphs.at("onnx")) {
    const std::vector<uint8_t> model = bundle.read(manifest_.graphs.at("onnx"));
    OrtSessionOptions* options = nullptr;
    ort_.check(ort_.api->CreateSessionOptions(&options));
    try {
      ort_.check(ort_.api->SetIntraOpNumThreads(options, threads));
      ort_.check(ort_.api->SetInterOpNumThreads(options, 1));
      ort_.check(ort_.api->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL));
      ort_.check(ort_.api->AddSessionConfigEntry(options, "optimization.disable_specified_optimizers", kDisabled));
      // x86 without VNNI adds products of bytes in 16 bits, which overflow: other samples than everywhere else
      ort_.check(ort_.api->AddSessionConfigEntry(options, "session.x64quantprecision", "1"));
      if (manifest_.separates()) spare_memory(ort_, options);
      ort_.check(ort_.api->CreateSessionFromArray(ort_.env, model.data(), model.size(), options, &session_));
      inputs_ = names(ort_.api->SessionGetInputCount, ort_.api->SessionGetInputName);
      outputs_ = names(ort_.api->SessionGetOutputCount, ort_.api->SessionGetOutputName);
    } catch (const Failure& failure) {
      ort_.api->ReleaseSessionOptions(options);
      if (session_) ort_.api->ReleaseSession(session_);
      throw Failure(failure.status, failure_ + " does not load in onnx: " + failure.what());
    }
    ort_.api->ReleaseSessionOptions(options);
    if (inputs_.size() != manifest_.inputs.size() || outputs_.size() != manifest_.outputs.size()) {
      ort_.api->ReleaseSession(session_);
      throw Failure(STEMEDGE_FAILED,
                    failure_ + " failed in onnx: it has not the inputs and outputs that the manifest lists");
    }
    failure_ +=
        " failed in onnx" +
        std::string(manifest_.half.at("onnx") ? " (it computes in fp16, which needs ARMv8.2 or x86 with F16C)" : "");
  }
  ~OnnxGraph() override { ort_.api->ReleaseSession(session_); }
  OnnxGraph(const OnnxGraph&) = delete;
  OnnxGraph& operator=(const OnnxGraph&) = delete;

  std::unique_ptr<Binding> bind() override;

 private:
  friend class OnnxBinding;

  template <typename Count, typename Name>
  std::vector<std::string> names(Count count, Name name) {
    OrtAllocator* allocator = nullptr;
    ort_.check(ort_.api->GetAllocatorWithDefaultOptions(&allocator));
    size_t size = 0;
    ort_.check(count(session_, &size));
    std::vector<std::string> result;
    for (size_t i = 0; i < size; ++i) {
      char* text = nullptr;
      ort_.check(name(session_, i, allocator, &text));
      result.emplace_back(text);
      allocator->Free(allocator, text);
    }
    return result;
  }

  const Ort& ort_;
  const Manifest manifest_;
  std::string failure_;
  OrtSession* session_ = nullptr;
  std::vector<std::string> inputs_, outputs_;
};

// Two sets of states: each run reads one and writes the other, and no tensor is allocated or copied.
class OnnxBinding : public Binding {
 public:
  explicit OnnxBinding(std::shared_ptr<OnnxGraph> graph) : graph_(std::move(graph)) {
    const Manifest& m = graph_->manifest_;
    try {
      OrtValue *first = tensor(m.inputs[0]), *output = tensor(m.outputs[0]);
      std::vector<OrtValue*> sets[2];
      for (int set = 0; set < 2; ++set)
        for (size_t i = 1; i < m.inputs.size(); ++i) sets[set].push_back(tensor(m.inputs[i]));
      for (int turn = 0; turn < 2; ++turn) {
        check(api().CreateIoBinding(graph_->session_, &turns_[turn]));
        check(api().BindInput(turns_[turn], graph_->inputs_[0].c_str(), first));
        check(api().BindOutput(turns_[turn], graph_->outputs_[0].c_str(), output));
        for (size_t i = 1; i < m.inputs.size(); ++i) {
          check(api().BindInput(turns_[turn], graph_->inputs_[i].c_str(), sets[turn][i - 1]));
          check(api().BindOutput(turns_[turn], graph_->outputs_[i].c_str(), sets[1 - turn][i - 1]));
        }
      }
    } catch (...) {
      release();
      throw;
    }
  }
  ~OnnxBinding() override { release(); }
  OnnxBinding(const OnnxBinding&) = delete;
  OnnxBinding& operator=(const OnnxBinding&) = delete;

  float* input() override { return buffers_[0].floats(); }
  float* output() override { return buffers_[1].floats(); }
  void run() override {
    check(api().RunWithBinding(graph_->session_, nullptr, turns_[turn_]));
    turn_ ^= 1;
  }
  void reset() override {
    turn_ = 0;
    for (size_t i = 1; i < graph_->manifest_.inputs.size(); ++i) buffers_[i + 1].zero();
  }

 private:
  const OrtApi& api() const { return *graph_->ort_.api; }
  void check(OrtStatus* status) const {
    if (!status) return;
    try {
      graph_->ort_.check(status);
    } catch (const Failure& failure) {
      throw Failure(failure.status, graph_->failure_ + ": " + failure.what());
    }
  }
  OrtValue* tensor(const Tensor& spec) {
    buffers_.emplace_back(spec.bytes());
    values_.push_back(nullptr);
    check(api().CreateTensorWithDataAsOrtValue(graph_->ort_.memory, buffers_.back().data(), spec.bytes(),
                                               spec.shape.data(), spec.shape.size(), element_type(spec.dtype),
                                               &values_.back()));
    return values_.back();
  }
  void release() {
    for (OrtIoBinding* turn : turns_)
      if (turn) api().ReleaseIoBinding(turn);
    for (OrtValue* value : values_)
      if (value) api().ReleaseValue(value);
  }

  std::shared_ptr<OnnxGraph> graph_;
  std::vector<Buffer> buffers_;  // input, output, the first set of states, the second
  std::vector<OrtValue*> values_;
  OrtIoBinding* turns_[2] = {nullptr, nullptr};
  int turn_ = 0;
};

std::unique_ptr<Binding> OnnxGraph::bind() { return std::make_unique<OnnxBinding>(shared_from_this()); }

}  // namespace

std::shared_ptr<Graph> load_onnx(const Bundle& bundle, int threads, const std::string& library) {
  auto graph = std::make_shared<OnnxGraph>(runtime(library), bundle, threads);
  if (bundle.manifest().separates()) return_heap();
  return graph;
}

}  // namespace stemedge::core
