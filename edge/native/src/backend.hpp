// A loaded graph, and its buffers for one stream.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bundle.hpp"

namespace stemedge::core {

// Write `input`, `run()`, read `output()`; the states stay inside. Neither allocates on this side of the runtime.
class Binding {
 public:
  virtual ~Binding() = default;
  virtual float* input() = 0;
  virtual float* output() = 0;  // valid until the next run
  virtual void run() = 0;       // throws Failure
  virtual void reset() = 0;     // the states to zero
};

// Shared by any number of streams and threads.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual std::unique_ptr<Binding> bind() = 0;
};

// A tensor's memory, aligned for vector loads, zero at first.
class Buffer {
 public:
  explicit Buffer(size_t bytes);
  void* data() { return data_; }
  float* floats() { return static_cast<float*>(data_); }
  size_t bytes() const { return bytes_; }
  void zero();

 private:
  std::unique_ptr<uint8_t[]> memory_;
  void* data_;
  size_t bytes_;
};

// `library`: file of ONNX Runtime, empty for the usual places. Throws Failure.
std::shared_ptr<Graph> load_onnx(const Bundle& bundle, int threads, const std::string& library);
std::shared_ptr<Graph> load_executorch(const Bundle& bundle, int threads);
const char* executorch_version();  // empty: built without it

// SNR in dB of this machine's output for the golden input; throws Failure where it is below the bundle's limit.
double check_golden(const Bundle& bundle, const std::string& format, Graph& graph);

}  // namespace stemedge::core
