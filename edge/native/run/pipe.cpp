#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "command.hpp"

namespace stemedge::run {
namespace {

constexpr size_t kReadBytes = 65536;

// Raw little-endian samples, interleaved, from and to planes.
class RawSamples {
 public:
  RawSamples(const std::string& type, size_t channels) : wide_(type == "f32le"), channels_(channels) {}

  size_t frame_bytes() const { return channels_ * (wide_ ? 4 : 2); }
  void decode(const char* bytes, size_t frames, std::vector<std::vector<float>>& planes) const {
    for (size_t i = 0; i < frames * channels_; ++i) {
      float value;
      if (wide_) {
        std::memcpy(&value, bytes + 4 * i, 4);
      } else {
        int16_t sample;
        std::memcpy(&sample, bytes + 2 * i, 2);
        value = static_cast<float>(sample) / 32768;
      }
      planes[i % channels_][i / channels_] = value;
    }
  }
  void encode(const float* const* planes, size_t frames, std::vector<char>& bytes) {
    bytes.resize(frames * frame_bytes());
    for (size_t i = 0; i < frames * channels_; ++i) {
      const float value = planes[i % channels_][i / channels_];
      if (wide_) {
        std::memcpy(bytes.data() + 4 * i, &value, 4);
        continue;
      }
      clipped += std::fabs(value) > 1;
      const auto sample = static_cast<int16_t>(std::clamp(std::nearbyint(value * 32768), -32768.0f, 32767.0f));
      std::memcpy(bytes.data() + 2 * i, &sample, 2);
    }
  }

  size_t clipped = 0;

 private:
  bool wide_;
  size_t channels_;
};

void write_all(const std::vector<char>& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::write(STDOUT_FILENO, bytes.data() + done, bytes.size() - done);
    if (count < 0) throw Stop(kFailure, std::string("stdout: ") + std::strerror(errno));
    done += static_cast<size_t>(count);
  }
}

}  // namespace

// What is ready goes out at once; the first samples, `latency` zeros, do not, and the flush brings as many.
void run_pipe(const Command& command, const Model& model) {
  const bool separates = model.info().task == STEMEDGE_SEPARATE;
  const int source = source_index(command, model);
  if (separates && source < 0) throw Stop(kUsage, "a pipe takes one stem: choose by --source");
  stemedge_options options = stream_options(command, command.rate, command.channels);
  options.latency = command.latency;
  Stream stream(model, options);
  const stemedge_stream_info info = stream.info();
  const size_t inputs = static_cast<size_t>(info.inputs), outputs = static_cast<size_t>(info.outputs);
  const size_t width = separates ? static_cast<size_t>(model.info().channels) : outputs;
  const size_t first = separates ? static_cast<size_t>(source) * width : 0;
  size_t skip = static_cast<size_t>(info.latency), frames = 0, kept = 0;

  RawSamples in(command.raw, inputs), out(command.raw, width);
  const size_t block = std::max<size_t>(1, kReadBytes / in.frame_bytes()), longest = std::max(block, skip);
  std::vector<char> bytes(block * in.frame_bytes()), encoded;
  std::vector<std::vector<float>> from(inputs, std::vector<float>(block)), to(outputs, std::vector<float>(longest));
  std::vector<const float*> from_planes, wanted(width);
  std::vector<float*> to_planes;
  for (const auto& plane : from) from_planes.push_back(plane.data());
  for (auto& plane : to) to_planes.push_back(plane.data());
  const auto write = [&](size_t count) {
    refuse_bad_results(stream, "stdin");
    const size_t skipped = std::min(skip, count);
    skip -= skipped;
    for (size_t c = 0; c < width; ++c) wanted[c] = to[first + c].data() + skipped;
    out.encode(wanted.data(), count - skipped, encoded);
    write_all(encoded);
  };
  for (;;) {
    check_interrupted();
    const ssize_t count = ::read(STDIN_FILENO, bytes.data() + kept, bytes.size() - kept);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw Stop(kFailure, std::string("stdin: ") + std::strerror(errno));
    if (count == 0) break;
    kept += static_cast<size_t>(count);
    const size_t ready = kept / in.frame_bytes(), used = ready * in.frame_bytes();
    in.decode(bytes.data(), ready, from);
    stream.process(from_planes.data(), to_planes.data(), ready);
    write(ready);
    std::memmove(bytes.data(), bytes.data() + used, kept - used);
    kept -= used;
    frames += ready;
  }
  if (frames == 0) throw Stop(kUsage, "stdin: no samples came");
  if (kept) std::fprintf(stderr, "note: stdin: the last %zu byte(s) are no whole frame\n", kept);
  stream.flush(to_planes.data());
  write(static_cast<size_t>(info.latency));
  const auto bad = static_cast<unsigned long long>(stream.counters().bad_inputs);
  if (bad) std::fprintf(stderr, "note: stdin: %llu NaN, infinite or absurd samples were taken for 0\n", bad);
  if (out.clipped) std::fprintf(stderr, "note: stdout: %zu samples clipped; --raw f32le keeps them\n", out.clipped);
}

}  // namespace stemedge::run
