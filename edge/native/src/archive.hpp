// A zip archive that nobody vouches for, read member by member.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace stemedge::core {

class Archive {
 public:
  using Sink = std::function<bool(const uint8_t* data, size_t size)>;  // false: enough

  // `file` on disk, or `size` bytes at `data`, which must outlive the archive. Null where it is no zip archive.
  static std::unique_ptr<Archive> open(const std::string& file);
  static std::unique_ptr<Archive> open(const uint8_t* data, size_t size);
  ~Archive();

  bool contains(const std::string& name) const;
  // All bytes of a member, in blocks. Throws Failure(STEMEDGE_BAD_BUNDLE) where the archive is damaged or encrypted.
  void read(const std::string& name, const Sink& sink) const;

 private:
  struct State;
  explicit Archive(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace stemedge::core
