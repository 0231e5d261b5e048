// The manifest of a bundle, checked as edge.manifest checks it (see docs/bundle.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace stemedge::core {

inline constexpr const char* kFormatVersion = "1.0";

struct Tensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype;
  size_t elements() const;
  size_t bytes() const;
};

struct File {
  uint64_t bytes = 0;
  std::string sha256;
};

struct GoldenTensor {
  std::string file;
  std::vector<int64_t> shape;
  double min_snr_db = 0;  // of outputs
};

struct Manifest {
  std::string format_version, name, task;
  std::vector<std::string> sources;
  int sample_rate = 0, channels = 0, hop = 0, segment = 0, delay = 0, latency_samples = 0;
  std::vector<Tensor> inputs, outputs;
  std::map<std::string, std::string> graphs;  // format to file
  std::map<std::string, bool> half;           // format to whether the graph computes in fp16
  GoldenTensor golden_input;
  std::map<std::string, GoldenTensor> golden_outputs;
  int golden_stride = 1;
  std::map<std::string, File> files;
  std::string text;     // as it was read
  std::string warning;  // unknown keys and minor version

  bool separates() const { return task == "separate"; }
};

// Throws Failure(STEMEDGE_BAD_BUNDLE), one line that starts with `where`.
Manifest parse_manifest(const std::string& text, const std::string& where);

}  // namespace stemedge::core
