// For an emulator that counts instructions and notes its totals at each getppid(): the golden check, then the golden
// input once more through a stream, hop by hop, with a mark at the begin and end of every call of `process`, and of
// the graph's run in it.
// usage: counted BUNDLE onnx|executorch CALLS   prints the golden SNR in dB, then the marks' kinds in their order
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "around.hpp"
#include "failure.hpp"
#include "stream.hpp"

namespace {

using namespace stemedge::core;

std::string marks;

void mark(char kind) {
  marks += kind;
  getppid();
}

void marked_run(Binding& binding) {
  mark('r');
  binding.run();
  mark('R');
}

void count(const char* path, const std::string& backend, size_t calls) {
  const Bundle bundle = Bundle::open(path);
  const Manifest& m = bundle.manifest();
  const std::shared_ptr<Graph> graph = backend == "onnx" ? load_onnx(bundle, 1, "") : load_executorch(bundle, 1);
  std::printf("%.1f\n", check_golden(bundle, backend, *graph));

  stemedge_options options{};
  options.sample_rate = m.sample_rate;
  options.channels = m.channels;
  options.attenuation_limit = std::numeric_limits<double>::infinity();
  options.mean = options.deviation = std::nan("");
  Stream stream(m, std::make_shared<AroundGraph>(graph, marked_run), options);
  const size_t hop = static_cast<size_t>(m.hop), planes = stream.inputs();
  const std::vector<float> audio = bundle.read_f32(m.golden_input.file);
  const size_t given = audio.size() / planes;
  std::vector<float> in(planes * hop), out(stream.outputs() * hop);
  std::vector<const float*> from;
  std::vector<float*> to;
  for (size_t p = 0; p < planes; ++p) from.push_back(in.data() + p * hop);
  for (size_t p = 0; p < stream.outputs(); ++p) to.push_back(out.data() + p * hop);
  marks.reserve(8 * calls);
  for (size_t call = 0; call < calls; ++call) {
    for (size_t p = 0; p < planes; ++p)
      for (size_t i = 0; i < hop; ++i) in[p * hop + i] = audio[p * given + (call * hop + i) % given];
    mark('p');
    stream.process(from.data(), to.data(), hop);
    mark('P');
  }
  std::puts(marks.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: counted BUNDLE onnx|executorch CALLS\n");
    return 2;
  }
  try {
    count(argv[1], argv[2], static_cast<size_t>(std::atoi(argv[3])));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "counted: error: %s\n", error.what());
    return 1;
  }
  return 0;
}
