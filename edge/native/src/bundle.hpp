// Bundles on disk: open one with every byte checked (see docs/bundle.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "archive.hpp"
#include "manifest.hpp"

namespace stemedge::core {

class Bundle {
 public:
  // Throws Failure where it is no bundle, malformed, of a future format, incomplete or damaged.
  static Bundle open(const std::string& path);
  // A .edge file in memory, which must outlive the bundle.
  static Bundle open(const uint8_t* data, size_t size);

  const Manifest& manifest() const { return manifest_; }
  const std::string& path() const { return path_; }
  // A listed file, checked again on the way: what is used is what was promised.
  std::vector<uint8_t> read(const std::string& name) const;
  std::vector<float> read_f32(const std::string& name) const;

 private:
  explicit Bundle(std::string path) : path_(std::move(path)) {}
  void check_all();
  void check(const std::string& name, std::vector<uint8_t>* copy) const;
  bool present(const std::string& name) const;
  void stream(const std::string& name, const Archive::Sink& sink) const;

  std::string path_;
  Manifest manifest_;
  std::unique_ptr<Archive> archive_;  // null for a folder
};

}  // namespace stemedge::core
