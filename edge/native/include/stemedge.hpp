// stem-edge's bundles in C++: stemedge.h with owners in place of handles and exceptions in place of statuses.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "stemedge.h"

namespace stemedge {

struct Error : std::runtime_error {
  explicit Error(stemedge_status code) : std::runtime_error(stemedge_last_error()), status(code) {}
  stemedge_status status;
};

inline void check(stemedge_status status) {
  if (status != STEMEDGE_OK) throw Error(status);
}

inline stemedge_options default_options() {
  stemedge_options options;
  check(stemedge_options_init(&options, sizeof options));
  return options;
}

class Model {
 public:
  explicit Model(const std::string& bundle) { check(stemedge_bundle_open(bundle.c_str(), &handle_)); }
  ~Model() { stemedge_bundle_close(handle_); }
  Model(Model&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Model& operator=(Model&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  stemedge_bundle_info info() const {
    stemedge_bundle_info info{};
    info.struct_size = sizeof info;
    check(stemedge_bundle_get_info(handle_, &info));
    return info;
  }
  std::string name() const { return text(stemedge_bundle_get_name); }
  std::string manifest() const { return text(stemedge_bundle_get_manifest); }
  std::string warning() const { return text(stemedge_bundle_get_warning); }
  std::vector<std::string> sources() const {
    std::vector<std::string> names;
    for (int32_t i = 0; i < info().sources; ++i)
      names.push_back(text([i](stemedge_bundle* bundle, char* out, size_t size, size_t* needed) {
        return stemedge_bundle_get_source(bundle, i, out, size, needed);
      }));
    return names;
  }
  // SNR in dB; throws where this machine does not run the graph as exported.
  double golden_check(stemedge_backend backend = STEMEDGE_ANY_BACKEND, int threads = 1) const {
    double snr = 0;
    check(stemedge_bundle_check(handle_, backend, threads, &snr));
    return snr;
  }
  stemedge_bundle* handle() const { return handle_; }

 private:
  template <typename Get>
  std::string text(Get get) const {
    size_t needed = 0;
    check(get(handle_, nullptr, 0, &needed));
    std::vector<char> value(needed);
    check(get(handle_, value.data(), needed, nullptr));
    return value.data();
  }

  stemedge_bundle* handle_ = nullptr;
};

class Stream {
 public:
  explicit Stream(const Model& model, const stemedge_options& options = default_options()) {
    check(stemedge_stream_open(model.handle(), &options, &handle_));
  }
  ~Stream() { stemedge_stream_close(handle_); }
  Stream(Stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  stemedge_stream_info info() const {
    stemedge_stream_info info{};
    info.struct_size = sizeof info;
    check(stemedge_stream_get_info(handle_, &info));
    return info;
  }
  stemedge_counters counters() const {
    stemedge_counters counters{};
    counters.struct_size = sizeof counters;
    check(stemedge_stream_get_counters(handle_, &counters));
    return counters;
  }
  void process(const float* const* in, float* const* out, size_t n) {
    check(stemedge_stream_process(handle_, in, out, n));
  }
  void flush(float* const* out) { check(stemedge_stream_flush(handle_, out)); }
  void reset() { check(stemedge_stream_reset(handle_)); }
  void set_attenuation_limit(double db) { check(stemedge_stream_set_attenuation_limit(handle_, db)); }
  void set_offline(bool offline) { check(stemedge_stream_set_offline(handle_, offline)); }
  stemedge_stream* handle() const { return handle_; }

 private:
  stemedge_stream* handle_ = nullptr;
};

}  // namespace stemedge
