// stemedge-run: a bundle on audio files and raw pipes, without Python.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "command.hpp"

namespace stemedge::run {
namespace {

volatile std::sig_atomic_t interrupted = 0;

constexpr const char* kUsageText =
    "usage: stemedge-run BUNDLE INPUT -o OUT [options]\n"
    "       stemedge-run BUNDLE - -o - --raw f32le|s16le --rate HZ [options]\n"
    "       stemedge-run BUNDLE --info | --check\n"
    "\n"
    "Enhance speech or separate music with a bundle (a folder or NAME.edge): an audio file of any rate, channel count "
    "and\n"
    "length, or raw samples from a pipe. What comes out keeps rate and length.\n"
    "\n"
    "  -o OUT             enhance: an audio file (.wav .flac .aiff .caf .w64 .ogg); separate: a folder of .wav files,\n"
    "                     or with --source a file\n"
    "  --source NAME      separate: this stem alone\n"
    "  --consistent       separate: the stems add up to the input\n"
    "  --limit DB         enhance: take at most so much away\n"
    "  --latency S        separate, on a pipe: seconds; less costs more\n"
    "  --raw TYPE         samples without a header, in and out: f32le or s16le, with --rate HZ and --channels N\n"
    "  --backend NAME     onnx or executorch (default: onnx where the bundle has it)\n"
    "  --threads N        default: 1\n"
    "  --check            run the bundle's golden check on this machine\n"
    "  --info             print what the bundle is\n"
    "  --help, --version\n"
    "\n"
    "examples:\n"
    "  stemedge-run bundles/enhancer noisy.wav -o clean.wav\n"
    "  stemedge-run bundles/htdemucs-mini song.flac -o stems\n"
    "  arecord -t raw -f S16_LE -r 16000 | stemedge-run bundles/enhancer - -o - --raw s16le --rate 16000 > clean.s16\n";

double number(const std::string& option, const char* text, double least, double most) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end || !(value >= least && value <= most))
    throw Stop(kUsage, option + ": not a valid value: " + text);
  return value;
}

Command parse(const std::vector<std::string>& arguments) {
  Command c;
  std::vector<std::string> places;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& option = arguments[i];
    const auto value = [&] {
      if (i + 1 >= arguments.size()) throw Stop(kUsage, option + " needs a value");
      return arguments[++i].c_str();
    };
    const auto integer = [&](int most) { return static_cast<int>(number(option, value(), 1, most)); };
    if (option == "-o" || option == "--output")
      c.output = value();
    else if (option == "--source")
      c.source = value();
    else if (option == "--raw")
      c.raw = value();
    else if (option == "--backend") {
      const std::string name = value();
      if (name != "onnx" && name != "executorch") throw Stop(kUsage, "--backend is onnx or executorch, not " + name);
      c.backend = name == "onnx" ? STEMEDGE_ONNX : STEMEDGE_EXECUTORCH;
    } else if (option == "--threads")
      c.threads = integer(256);
    else if (option == "--rate")
      c.rate = integer(1000000);
    else if (option == "--channels")
      c.channels = integer(64);
    else if (option == "--latency")
      c.latency = number(option, value(), 1e-3, 1e3);
    else if (option == "--limit") {
      c.limit = number(option, value(), 0, 1e3);
      c.limited = true;
    } else if (option == "--consistent")
      c.consistent = true;
    else if (option == "--check")
      c.check = true;
    else if (option == "--info")
      c.info = true;
    else if (option.size() > 1 && option[0] == '-')
      throw Stop(kUsage, "unknown option " + option + " (--help lists them)");
    else
      places.push_back(option);
  }
  if (places.empty()) throw Stop(kUsage, "a bundle is needed (--help shows how)");
  c.bundle = places[0];
  if (places.size() > 2) throw Stop(kUsage, "one input at a time: " + places[2] + " is too many");
  if (places.size() == 2) c.input = places[1];
  if (c.input.empty() && !c.check && !c.info) throw Stop(kUsage, "an input is needed: an audio file, or - for stdin");
  if (!c.input.empty() && c.output.empty()) throw Stop(kUsage, "-o is needed: where the output goes");
  const bool pipe = c.input == "-";
  if (!c.input.empty() && pipe != (c.output == "-"))
    throw Stop(kUsage, "- stands for stdin and stdout, in both places");
  if (pipe && c.raw.empty()) throw Stop(kUsage, "a pipe needs --raw f32le or s16le");
  if (!pipe && !c.raw.empty()) throw Stop(kUsage, "--raw is for a pipe: - -o -");
  if (!c.raw.empty() && c.raw != "f32le" && c.raw != "s16le")
    throw Stop(kUsage, "--raw is f32le or s16le, not " + c.raw);
  if (pipe && !c.rate) throw Stop(kUsage, "raw samples need --rate HZ");
  if (!pipe && c.latency != 0) throw Stop(kUsage, "--latency is for pipes; a file is separated with all its context");
  return c;
}

void print_info(const Model& model) {
  const stemedge_bundle_info info = model.info();
  std::printf("%s: %s, %d Hz, %d channel(s), latency %d samples (%.1f ms)%s%s\n", model.name().c_str(),
              info.task == STEMEDGE_ENHANCE ? "enhance" : "separate", info.sample_rate, info.channels, info.latency,
              1000.0 * info.latency / info.sample_rate, info.has_onnx ? ", onnx" : "",
              info.has_executorch ? ", executorch" : "");
  for (const std::string& source : model.sources()) std::printf("  %s\n", source.c_str());
}

ExitCode exit_code(const Error& error) {
  return error.status == STEMEDGE_FAILED || error.status == STEMEDGE_NO_MEMORY ? kFailure : kUsage;
}

void run(const std::vector<std::string>& arguments) {
  const Command command = parse(arguments);
  const Model model(command.bundle);
  if (!model.warning().empty())
    std::fprintf(stderr, "warning: %s: %s\n", command.bundle.c_str(), model.warning().c_str());
  if (command.info) print_info(model);
  if (command.check) std::printf("golden check: %.1f dB\n", model.golden_check(command.backend, command.threads));
  if (command.input.empty()) return;
  command.input == "-" ? run_pipe(command, model) : run_file(command, model);
}

}  // namespace

stemedge_options stream_options(const Command& command, int rate, int channels) {
  stemedge_options options = default_options();
  options.backend = command.backend;
  options.threads = command.threads;
  options.sample_rate = rate;
  options.channels = channels;
  options.consistent = command.consistent;
  if (command.limited) options.attenuation_limit = command.limit;
  return options;
}

int source_index(const Command& command, const Model& model) {
  if (command.source.empty()) return -1;
  const std::vector<std::string> sources = model.sources();
  std::string known;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i] == command.source) return static_cast<int>(i);
    known += (i ? ", " : "") + sources[i];
  }
  throw Stop(kUsage, command.bundle + ": no source '" + command.source + "'; it has " + known);
}

void check_interrupted() {
  if (interrupted) throw Stop(kInterrupted, "interrupted");
}

void refuse_bad_results(const Stream& stream, const std::string& name) {
  if (stream.counters().bad_outputs)
    throw Stop(kFailure, "the model gave NaN or infinite samples for " + name + "; try --backend or fp32");
}

}  // namespace stemedge::run

int main(int count, char** values) {
  using namespace stemedge;
  const std::vector<std::string> arguments(values + 1, values + count);
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") return std::fputs(run::kUsageText, stdout) < 0;
    if (argument == "--version") {
      const std::string executorch = stemedge_executorch_version();
      const std::string with = executorch.empty() ? "" : ", with ExecuTorch " + executorch;
      return std::printf("stemedge-run %s%s\n", stemedge_version(), with.c_str()) < 0;
    }
  }
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { run::interrupted = 1; });
  std::signal(SIGPIPE, SIG_IGN);
  const auto fail = [](const char* message, int code) {
    std::fprintf(stderr, "stemedge-run: error: %s\n", message);
    return code;
  };
  try {
    run::run(arguments);
    return std::fflush(stdout) == 0 ? run::kSuccess : fail("stdout cannot be written", run::kFailure);
  } catch (const run::Stop& stop) {
    return fail(stop.what(), stop.code);
  } catch (const Error& error) {
    return fail(error.what(), run::exit_code(error));
  } catch (const std::exception& error) {
    return fail(error.what(), run::kFailure);
  }
}
