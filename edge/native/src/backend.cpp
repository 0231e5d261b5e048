#include "backend.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "failure.hpp"

namespace stemedge::core {
namespace {

constexpr size_t kAlignment = 64;
constexpr double kMaxSnr = 200;

std::vector<float> golden_output(const Manifest& m, const std::vector<float>& audio, Binding& binding) {
  std::vector<float> all;
  binding.reset();
  if (m.separates()) {
    const size_t given = audio.size() / static_cast<size_t>(m.channels), segment = static_cast<size_t>(m.segment);
    for (size_t c = 0; c < static_cast<size_t>(m.channels); ++c)
      for (size_t i = 0; i < segment; ++i) binding.input()[c * segment + i] = audio[c * given + i % given];
    binding.run();
    all.assign(binding.output(), binding.output() + m.outputs[0].elements());
    const size_t stride = static_cast<size_t>(m.golden_stride);
    std::vector<float> kept;
    for (size_t plane = 0; plane < all.size() / segment; ++plane)
      for (size_t i = 0; i < segment; i += stride) kept.push_back(all[plane * segment + i]);
    return kept;
  }
  const size_t hop = static_cast<size_t>(m.hop);
  for (size_t at = 0; at + hop <= audio.size(); at += hop) {
    std::copy_n(audio.data() + at, hop, binding.input());
    binding.run();
    all.insert(all.end(), binding.output(), binding.output() + hop);
  }
  std::vector<float> kept;
  for (size_t i = 0; i < all.size(); i += static_cast<size_t>(m.golden_stride)) kept.push_back(all[i]);
  return kept;
}

double snr_db(const std::vector<float>& reference, const std::vector<float>& estimate) {
  double signal = 0, error = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double r = reference[i], e = r - estimate[i];
    signal += r * r;
    error += e * e;
  }
  if (error == 0) return kMaxSnr;
  if (!std::isfinite(error)) return std::nan("");
  return std::min(kMaxSnr, 10 * std::log10(std::max(signal, 1e-30) / error));
}

std::string decibels(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f dB", value);
  return text;
}

}  // namespace

Buffer::Buffer(size_t bytes) : memory_(new uint8_t[bytes + kAlignment]()), bytes_(bytes) {
  void* at = memory_.get();
  size_t room = bytes + kAlignment;
  data_ = std::align(kAlignment, bytes, at, room);
}

void Buffer::zero() { std::memset(data_, 0, bytes_); }

double check_golden(const Bundle& bundle, const std::string& format, Graph& graph) {
  const Manifest& m = bundle.manifest();
  const GoldenTensor& expected = m.golden_outputs.at(format);
  const std::string where = bundle.path() + ": golden check of " + format;
  const std::vector<float> reference = bundle.read_f32(expected.file);
  const auto binding = graph.bind();
  const std::vector<float> output = golden_output(m, bundle.read_f32(m.golden_input.file), *binding);
  if (output.size() != reference.size())
    throw Failure(STEMEDGE_FAILED, where + ": got " + std::to_string(output.size()) + " samples, expected " +
                                       std::to_string(reference.size()));
  const double snr = snr_db(reference, output);
  if (!(snr >= expected.min_snr_db))
    throw Failure(STEMEDGE_FAILED, where + " failed: " + decibels(snr) + " SNR, at least " +
                                       decibels(expected.min_snr_db) +
                                       " needed; this machine does not run the graph as exported");
  return snr;
}

}  // namespace stemedge::core
