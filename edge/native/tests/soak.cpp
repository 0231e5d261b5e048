// Hours of audio through one stream: is it faster than real time, does the process grow, and what does everything
// around the graph take? Times are the thread's own, so that other programs do not count.
// usage: soak BUNDLE [HOURS [RATE]]   fails where it grows, is slower than real time, or takes 10 % of the graph's time
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "around.hpp"
#include "failure.hpp"
#include "stream.hpp"

namespace {

using namespace stemedge::core;

constexpr long kGrowth = 1024;  // kB that a heap may settle by
constexpr double kShare = 0.1;  // of the graph's time, for what is around it

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double wall_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

long resident_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmRSS:", 0) == 0) return std::atol(line.c_str() + 6);
  return 0;
}

double graph_seconds = 0;  // in runs, since the last call of `process`

void timed_run(Binding& binding) {
  const double start = thread_seconds();
  binding.run();
  graph_seconds += thread_seconds() - start;
}

double quantile(std::vector<double> values, double share) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

// Noise that comes and goes, and 4 s of silence in every 20.
class Source {
 public:
  explicit Source(int rate) : rate_(static_cast<uint64_t>(rate)) {}
  void fill(std::vector<float>& block) {
    for (float& sample : block) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      const bool silent = at_++ / rate_ % 20 >= 16;
      sample = silent ? 0 : 0.2f * (static_cast<float>(state_ >> 40) / static_cast<float>(1 << 24) - 0.5f);
    }
  }

 private:
  uint64_t rate_, state_ = 1, at_ = 0;
};

int soak(const char* path, double hours, int rate) {
  const Bundle bundle = Bundle::open(path);
  const Manifest& m = bundle.manifest();
  stemedge_options options{};
  options.sample_rate = rate ? rate : m.sample_rate;
  options.channels = m.channels;
  options.attenuation_limit = std::numeric_limits<double>::infinity();
  options.mean = options.deviation = std::nan("");
  Stream stream(m, std::make_shared<AroundGraph>(load_onnx(bundle, 1, ""), timed_run), options);

  const size_t block = static_cast<size_t>(options.sample_rate) / 100;
  std::vector<float> in(block), out(block * stream.outputs());
  const std::vector<const float*> from(stream.inputs(), in.data());
  std::vector<float*> to;
  for (size_t p = 0; p < stream.outputs(); ++p) to.push_back(out.data() + p * block);
  Source source(options.sample_rate);
  const auto blocks = static_cast<size_t>(hours * 360000), warm = std::min<size_t>(6000, blocks / 2);
  std::vector<double> around, runs;  // seconds, of the calls in which the graph ran
  around.reserve(blocks);
  runs.reserve(blocks);
  std::fill_n(std::back_inserter(around), blocks, 1.0);  // their pages are taken now, not later
  std::fill_n(std::back_inserter(runs), blocks, 1.0);
  around.clear();
  runs.clear();
  long first = 0, most = 0;
  double spent = 0;
  const double start = wall_seconds();
  for (size_t i = 0; i < blocks; ++i) {
    source.fill(in);
    graph_seconds = 0;
    const double before = thread_seconds();
    stream.process(from.data(), to.data(), block);
    const double took = thread_seconds() - before;
    spent += took;
    if (graph_seconds > 0 && i >= warm) {
      runs.push_back(graph_seconds);
      around.push_back(took - graph_seconds);
    }
    if (i == warm) first = resident_kb();
    if (i > warm && i % 6000 == 0) most = std::max(most, resident_kb());
  }
  most = std::max(most, resident_kb());
  if (runs.empty()) throw Failure(STEMEDGE_BAD_ARGUMENT, "too short: the graph never ran");
  const double run = quantile(runs, 0.5), p50 = quantile(around, 0.5), p99 = quantile(around, 0.99);
  const double audio = static_cast<double>(blocks) / 100;
  std::printf("%s, %d Hz: %.2f h of audio in %.0f s (%.0f s of this thread, %.1f times real time)\n", m.name.c_str(),
              options.sample_rate, audio / 3600, wall_seconds() - start, spent, audio / spent);
  std::printf("memory: %ld kB after the first minute, %ld kB at most after it\n", first, most);
  std::printf("graph: %.0f us a run (median of %zu); around it %.1f us (median), %.1f us (p99, %.1f %% of the run)\n",
              1e6 * run, runs.size(), 1e6 * p50, 1e6 * p99, 100 * p99 / run);
  const bool good = most - first <= kGrowth && spent < audio && p99 < kShare * run;
  std::puts(good ? "steady" : "FAILED: it grows, is too slow, or takes too much around the graph");
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: soak BUNDLE [HOURS [RATE]]\n");
    return 2;
  }
  try {
    return soak(argv[1], argc > 2 ? std::atof(argv[2]) : 1, argc > 3 ? std::atoi(argv[3]) : 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "soak: error: %s\n", error.what());
    return 2;
  }
}
