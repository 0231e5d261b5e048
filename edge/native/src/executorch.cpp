// ExecuTorch by its C++ runtime.
#include <executorch/extension/data_loader/buffer_data_loader.h>
#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/extension/threadpool/threadpool_guard.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#include <cstring>
#include <optional>

#include "backend.hpp"
#include "failure.hpp"

namespace stemedge::core {
namespace {

namespace et = executorch::runtime;
using executorch::extension::BufferDataLoader;
using executorch::extension::MallocMemoryAllocator;
using executorch::extension::threadpool::NoThreadPoolGuard;

class ExecutorchGraph : public Graph, public std::enable_shared_from_this<ExecutorchGraph> {
 public:
  ExecutorchGraph(const Bundle& bundle, int threads)
      : manifest_(bundle.manifest()),
        failure_(bundle.path() + ": " + manifest_.graphs.at("executorch")),
        threads_(threads) {
    const std::vector<uint8_t> file = bundle.read(manifest_.graphs.at("executorch"));
    content_.emplace(file.size());  // aligned, and there for as long as the program
    std::memcpy(content_->data(), file.data(), file.size());
    et::runtime_init();
    loader_.emplace(content_->data(), content_->bytes());
    auto program = et::Program::load(&*loader_);
    if (!program.ok()) fail("does not load in executorch", program.error());
    program_.emplace(std::move(*program));
    failure_ += manifest_.half.at("executorch") ? " (it computes in fp16, which needs ARMv8.2 or x86 with F16C)" : "";
  }

  std::unique_ptr<Binding> bind() override;

 private:
  friend class ExecutorchBinding;

  [[noreturn]] void fail(const std::string& what, et::Error error) const {
    throw Failure(STEMEDGE_FAILED, failure_ + " " + what + ": error " + std::to_string(static_cast<int>(error)));
  }
  void check(const std::string& what, et::Error error) const {
    if (error != et::Error::Ok) fail(what, error);
  }

  const Manifest manifest_;
  std::string failure_;
  const int threads_;
  std::optional<Buffer> content_;
  std::optional<BufferDataLoader> loader_;
  std::optional<et::Program> program_;
};

// A method of its own for each stream: it plans its memory once, and needs no lock.
class ExecutorchBinding : public Binding {
 public:
  explicit ExecutorchBinding(std::shared_ptr<ExecutorchGraph> graph) : graph_(std::move(graph)) {
    const auto alone = guard();
    auto meta = graph_->program_->method_meta("forward");
    if (!meta.ok()) graph_->fail("has no method forward in executorch", meta.error());
    for (size_t i = 0; i < meta->num_memory_planned_buffers(); ++i) {
      planned_.emplace_back(static_cast<size_t>(*meta->memory_planned_buffer_size(i)));
      spans_.emplace_back(static_cast<uint8_t*>(planned_.back().data()), planned_.back().bytes());
    }
    memory_.emplace(et::Span<et::Span<uint8_t>>(spans_.data(), spans_.size()));
    manager_.emplace(&method_memory_, &*memory_, &scratch_);
    auto method = graph_->program_->load_method("forward", &*manager_);
    if (!method.ok()) graph_->fail("does not load in executorch", method.error());
    method_.emplace(std::move(*method));
    const Manifest& m = graph_->manifest_;
    if (method_->inputs_size() != m.inputs.size() || method_->outputs_size() != m.outputs.size())
      graph_->fail("failed in executorch: it has not the inputs and outputs that the manifest lists",
                   et::Error::InvalidProgram);
    for (size_t i = 0; i < m.inputs.size(); ++i) {
      buffers_.emplace_back(m.inputs[i].bytes());
      const auto info = meta->input_tensor_meta(i);
      if (!info.ok() || info->nbytes() != m.inputs[i].bytes())
        graph_->fail("failed in executorch: an input differs from the manifest", et::Error::InvalidProgram);
      tensors_.push_back({info->scalar_type(),
                          {info->sizes().begin(), info->sizes().end()},
                          {info->dim_order().begin(), info->dim_order().end()},
                          {}});
      Shape& shape = tensors_.back();
      shape.strides.resize(shape.sizes.size());
      int32_t stride = 1;
      for (size_t d = shape.order.size(); d-- > 0; stride *= shape.sizes[shape.order[d]])
        shape.strides[shape.order[d]] = stride;
    }
    for (size_t i = 0; i < m.inputs.size(); ++i) {
      Shape& shape = tensors_[i];
      impls_.emplace_back(shape.type, static_cast<ssize_t>(shape.sizes.size()), shape.sizes.data(), buffers_[i].data(),
                          shape.order.data(), shape.strides.data());
    }
    output_ = &buffers_.emplace_back(m.outputs[0].bytes());
  }

  float* input() override { return buffers_[0].floats(); }
  float* output() override { return output_->floats(); }
  void run() override {
    const auto alone = guard();
    const Manifest& m = graph_->manifest_;
    for (size_t i = 0; i < m.inputs.size(); ++i)
      graph_->check("failed in executorch", method_->set_input(et::EValue(executorch::aten::Tensor(&impls_[i])), i));
    graph_->check("failed in executorch", method_->execute());
    for (size_t i = 0; i < m.outputs.size(); ++i) {
      const et::EValue& value = method_->get_output(i);
      if (!value.isTensor() || value.toTensor().nbytes() != m.outputs[i].bytes())
        graph_->fail("failed in executorch: an output differs from the manifest", et::Error::InvalidProgram);
      std::memcpy(i == 0 ? output_->data() : buffers_[i].data(), value.toTensor().const_data_ptr(),
                  m.outputs[i].bytes());
    }
  }
  void reset() override {
    for (size_t i = 1; i < graph_->manifest_.inputs.size(); ++i) buffers_[i].zero();
  }

 private:
  struct Shape {
    executorch::aten::ScalarType type;
    std::vector<executorch::aten::SizesType> sizes;
    std::vector<executorch::aten::DimOrderType> order;
    std::vector<executorch::aten::StridesType> strides;
  };
  // One thread: the caller's. More: ExecuTorch's pool, of a thread a processor, which the whole process shares.
  std::optional<NoThreadPoolGuard> guard() const {
    std::optional<NoThreadPoolGuard> alone;
    if (graph_->threads_ == 1) alone.emplace();
    return alone;
  }

  std::shared_ptr<ExecutorchGraph> graph_;
  std::vector<Buffer> planned_;
  std::vector<et::Span<uint8_t>> spans_;
  std::optional<et::HierarchicalAllocator> memory_;
  MallocMemoryAllocator method_memory_, scratch_;
  std::optional<et::MemoryManager> manager_;
  std::optional<et::Method> method_;
  std::vector<Buffer> buffers_;  // inputs, then the output
  Buffer* output_ = nullptr;
  std::vector<Shape> tensors_;
  std::vector<executorch::aten::TensorImpl> impls_;
};

std::unique_ptr<Binding> ExecutorchGraph::bind() { return std::make_unique<ExecutorchBinding>(shared_from_this()); }

}  // namespace

std::shared_ptr<Graph> load_executorch(const Bundle& bundle, int threads) {
  return std::make_shared<ExecutorchGraph>(bundle, threads);
}
const char* executorch_version() { return STEMEDGE_EXECUTORCH_VERSION; }

}  // namespace stemedge::core
