#include <sndfile.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>

#include "command.hpp"
#include "resample.hpp"
#include "statistics.hpp"

namespace stemedge::run {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlock = 65536;
constexpr int kWidest = 64;

using Planes = std::vector<std::vector<float>>;

int format_of(const fs::path& path) {
  static const std::map<std::string, int> formats{
      {".wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT},    {".w64", SF_FORMAT_W64 | SF_FORMAT_FLOAT},
      {".flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_24}, {".ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS},
      {".aiff", SF_FORMAT_AIFF | SF_FORMAT_FLOAT},  {".aif", SF_FORMAT_AIFF | SF_FORMAT_FLOAT},
      {".caf", SF_FORMAT_CAF | SF_FORMAT_FLOAT}};
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const auto format = formats.find(extension);
  if (format == formats.end())
    throw Stop(kUsage, path.string() + ": unknown output extension '" + extension +
                           "'; use one of .wav .w64 .flac .ogg .aiff .aif .caf");
  return format->second;
}

// An audio file as planes of float32.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) throw Stop(kUsage, path + ": no such file");
    file_.reset(sf_open(path.c_str(), SFM_READ, &info_));
    if (!file_) throw Stop(kUsage, path + ": not an audio file that can be read: " + sf_strerror(nullptr));
    if (info_.frames == 0) throw Stop(kUsage, path + ": the file holds no samples");
    if (info_.channels > kWidest) throw Stop(kUsage, path + ": more than 64 channels");
    interleaved_.resize(kBlock * channels());
  }
  int rate() const { return info_.samplerate; }
  size_t channels() const { return static_cast<size_t>(info_.channels); }
  size_t frames() const { return static_cast<size_t>(info_.frames); }
  void rewind() {
    if (sf_seek(file_.get(), 0, SEEK_SET) != 0) throw Stop(kUsage, path_ + ": the file cannot be read twice");
    done_ = 0;
  }
  // How many frames came; 0 at the end.
  size_t read(Planes& planes) {
    check_interrupted();
    const auto count = static_cast<size_t>(sf_readf_float(file_.get(), interleaved_.data(), kBlock));
    if (count == 0 && done_ < frames())
      throw Stop(kUsage, path_ + ": damaged or truncated after " + std::to_string(done_) + " samples");
    for (size_t i = 0; i < count * channels(); ++i) {
      if (!std::isfinite(interleaved_[i]))
        throw Stop(kUsage, path_ + ": holds NaN or infinite samples, the first at frame " +
                               std::to_string(done_ + i / channels()));
      planes[i % channels()][i / channels()] = interleaved_[i];
    }
    done_ += count;
    return count;
  }

 private:
  struct Close {
    void operator()(SNDFILE* file) const { sf_close(file); }
  };
  std::string path_;
  SF_INFO info_{};
  std::unique_ptr<SNDFILE, Close> file_;
  std::vector<float> interleaved_;
  size_t done_ = 0;
};

class Writer {
 public:
  Writer(const fs::path& path, const fs::path& name, int rate, size_t channels, size_t frames) : name_(name.string()) {
    SF_INFO info{};
    info.samplerate = rate;
    info.channels = static_cast<int>(channels);
    info.format = format_of(name);
    float_ = (info.format & SF_FORMAT_SUBMASK) == SF_FORMAT_FLOAT;
    if ((info.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_WAV && 4 * frames * channels > (size_t{1} << 32) - (1 << 20))
      info.format = SF_FORMAT_RF64 | SF_FORMAT_FLOAT;
    file_ = sf_open(path.c_str(), SFM_WRITE, &info);
    if (!file_) throw Stop(kFailure, "cannot write " + name_ + ": " + sf_strerror(nullptr));
  }
  ~Writer() {
    if (file_) sf_close(file_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void write(const float* const* planes, size_t channels, size_t count) {
    interleaved_.resize(count * channels);
    for (size_t i = 0; i < interleaved_.size(); ++i) {
      interleaved_[i] = planes[i % channels][i / channels];
      clipped_ += std::fabs(interleaved_[i]) > 1;
    }
    if (sf_writef_float(file_, interleaved_.data(), static_cast<sf_count_t>(count)) != static_cast<sf_count_t>(count))
      throw Stop(kFailure, "cannot write " + name_ + ": " + sf_strerror(file_));
  }
  void close() {
    SNDFILE* const file = std::exchange(file_, nullptr);
    if (sf_close(file) != 0) throw Stop(kFailure, "cannot write " + name_ + ": the disk may be full");
    if (clipped_ && !float_)
      std::fprintf(stderr, "note: %s: %zu samples clipped at full scale; a .wav keeps them\n", name_.c_str(), clipped_);
  }

 private:
  std::string name_;
  SNDFILE* file_ = nullptr;
  bool float_ = true;
  std::vector<float> interleaved_;
  size_t clipped_ = 0;
};

// The output under a temporary name beside its own, which it gets when it is whole.
class Scratch {
 public:
  Scratch(const fs::path& target, bool folder) : target_(target), folder_(folder) {
    std::error_code error;
    if (folder_ != fs::is_directory(target_, error) && fs::exists(target_, error))
      throw Stop(kUsage, target_.string() +
                             (folder_ ? " is a file; name a folder for the stems" : " is a folder; name a file"));
    const fs::path parent = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
    fs::create_directories(parent, error);
    // inside an existing folder: it may be a mount point, over which nothing can be renamed
    place_ = (folder_ && fs::is_directory(target_) ? target_ : parent) /
             ("." + target_.filename().string() + "." + std::to_string(::getpid()) + ".tmp");
    if (folder_ && !fs::create_directory(place_, error)) fail(error);
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(place_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  fs::path file(const std::string& name) const { return folder_ ? place_ / name : place_; }
  void keep() {
    std::error_code error;
    if (folder_ && fs::is_directory(target_)) {
      for (const auto& entry : fs::directory_iterator(place_)) {
        fs::rename(entry.path(), target_ / entry.path().filename(), error);
        if (error) fail(error);
      }
      return;
    }
    fs::rename(place_, target_, error);
    if (error) fail(error);
  }

 private:
  [[noreturn]] void fail(const std::error_code& error) const {
    throw Stop(kFailure, "cannot write " + target_.string() + ": " + error.message());
  }
  fs::path target_, place_;
  bool folder_;
};

// Mean and deviation of the whole recording's mono mix at the model's rate: the first of two passes.
core::Statistics measured(Reader& reader, const stemedge_bundle_info& info) {
  const auto channels = static_cast<size_t>(info.channels);
  core::Statistics statistics;
  const auto resampler = core::new_soxr(reader.rate(), info.sample_rate, channels);
  core::Fifo converted(channels, 2 * kBlock);
  Planes planes(reader.channels(), std::vector<float>(kBlock));
  std::vector<const float*> in(channels);
  for (size_t c = 0; c < channels; ++c) in[c] = planes[reader.channels() == 1 ? 0 : c].data();
  const auto update = [&] {
    const float* const* mix = converted.read();
    statistics.update(channels, converted.size(), [&](size_t c) { return mix[c]; });
    converted.clear();
  };
  while (const size_t count = reader.read(planes)) {
    resampler->process(in.data(), count, converted);
    update();
  }
  resampler->flush(converted);
  update();
  reader.rewind();
  return statistics;
}

}  // namespace

void run_file(const Command& command, const Model& model) {
  const stemedge_bundle_info info = model.info();
  const bool separates = info.task == STEMEDGE_SEPARATE;
  const int source = source_index(command, model);
  Reader reader(command.input);
  const fs::path target = fs::u8path(command.output);
  std::error_code ignored;
  if (fs::exists(target, ignored) && fs::equivalent(target, command.input, ignored))
    throw Stop(kUsage, command.output + " is the input; choose another output");
  const bool folder = separates && source < 0;
  if (!folder) format_of(target);  // a bad extension shows before the work
  if (separates && reader.channels() > 1 && reader.channels() < static_cast<size_t>(info.channels))
    throw Stop(kUsage, command.input + ": the model needs more channels");

  stemedge_options options = stream_options(command, reader.rate(), static_cast<int>(reader.channels()));
  if (separates) {
    const core::Statistics statistics = measured(reader, info);
    options.mean = statistics.mean;
    options.deviation = statistics.deviation();
  }
  Stream stream(model, options);
  const auto latency = static_cast<size_t>(stream.info().latency), outputs = static_cast<size_t>(stream.info().outputs);
  const size_t width = separates ? static_cast<size_t>(info.channels) : outputs;
  Scratch scratch(target, folder);
  std::vector<std::unique_ptr<Writer>> writers;
  std::vector<size_t> first;  // plane of each writer
  const std::vector<std::string> sources = model.sources();
  for (size_t s = 0; s < (separates ? sources.size() : 1); ++s) {
    if (separates && source >= 0 && s != static_cast<size_t>(source)) continue;
    const fs::path name = folder ? target / (sources[s] + ".wav") : target;
    writers.push_back(
        std::make_unique<Writer>(scratch.file(sources[s] + ".wav"), name, reader.rate(), width, reader.frames()));
    first.push_back(separates ? s * width : 0);
  }

  const size_t longest = std::max(kBlock, latency);
  Planes from(reader.channels(), std::vector<float>(kBlock)), to(outputs, std::vector<float>(longest));
  std::vector<const float*> in;
  std::vector<float*> out;
  for (const auto& plane : from) in.push_back(plane.data());
  for (auto& plane : to) out.push_back(plane.data());
  size_t skip = latency;
  const auto write = [&](size_t count) {
    refuse_bad_results(stream, command.input);
    const size_t skipped = std::min(skip, count);
    skip -= skipped;
    std::vector<const float*> wanted(width);
    for (size_t w = 0; w < writers.size(); ++w) {
      for (size_t c = 0; c < width; ++c) wanted[c] = to[first[w] + c].data() + skipped;
      writers[w]->write(wanted.data(), width, count - skipped);
    }
  };
  while (const size_t count = reader.read(from)) {
    stream.process(in.data(), out.data(), count);
    write(count);
  }
  stream.flush(out.data());
  write(latency);
  for (auto& writer : writers) writer->close();
  scratch.keep();
}

}  // namespace stemedge::run
