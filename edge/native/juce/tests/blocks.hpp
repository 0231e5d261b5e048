// What the tests' hosts have in common: the blocks that they cut audio into, and automation.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

constexpr uint32_t kLongest = 4096;

struct Change {
  std::string name;
  float value;
  size_t frame;
};

// NAME=VALUE@FRAME; an empty name where `text` is no such thing.
inline Change parse_change(const std::string& text) {
  const size_t equals = text.find('='), at = text.find('@');
  if (equals == std::string::npos || at == std::string::npos || at < equals) return {};
  return {text.substr(0, equals), std::stof(text.substr(equals + 1)), std::stoul(text.substr(at + 1))};
}

// The changes of the `count` frames from `first` on.
inline std::vector<Change> changes_of(const std::vector<Change>& all, size_t first, size_t count) {
  std::vector<Change> now;
  std::copy_if(all.begin(), all.end(), std::back_inserter(now),
               [&](const Change& change) { return change.frame >= first && change.frame < first + count; });
  return now;
}

// The first block is the longest; the others are of all sizes, small ones as often as large ones.
inline uint32_t next_size(size_t done) {
  static uint32_t random = 1;
  if (done == 0) return kLongest;
  random = random * 1664525 + 1013904223;
  const uint32_t most = 1u << ((random >> 8) % 13);
  return 1 + (random >> 16) % most;
}
