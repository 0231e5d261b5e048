// Mean and unbiased deviation of a mono mix, block by block (Chan et al. 1979), as edge.runtime.streams.Statistics.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "samples.hpp"

namespace stemedge::core {

// Of the deviation of all channels that the mono mix keeps in nearly all music: the least that counts. Over a deviation
// near 0 (karaoke tracks, a channel turned around) audio would leave the range of fp16 and int8.
constexpr double kMonoShare = 0.3;

class Statistics {
 public:
  template <typename Plane>  // from a channel to its `size` samples
  void update(size_t channels, size_t size, Plane plane) {
    if (size == 0) return;
    double middle[kRun];
    const double* mix = middle;  // mono
    const auto mono = [&](size_t start, size_t run) {
      const float* first = plane(0) + start;
      for (size_t i = 0; i < run; ++i) middle[i] = double{first[i]};
      for (size_t c = 1; c < channels; ++c) {
        const float* samples = plane(c) + start;
        for (size_t i = 0; i < run; ++i) middle[i] += double{samples[i]};
      }
      for (size_t i = 0; i < run; ++i) middle[i] /= static_cast<double>(channels);
    };
    const double n = static_cast<double>(size);
    double sum = 0, squares = 0, apart = 0;
    in_runs(size, [&](size_t start, size_t run) {
      mono(start, run);
      sum += sum_of<double>(run, [=](size_t i) { return mix[i]; });
    });
    const double average = sum / n;
    in_runs(size, [&](size_t start, size_t run) {
      mono(start, run);
      squares += sum_of<double>(run, [=](size_t i) { return (mix[i] - average) * (mix[i] - average); });
      for (size_t c = 0; c < channels; ++c) {
        const float* samples = plane(c) + start;
        apart += sum_of<double>(
            run, [=](size_t i) { return (double{samples[i]} - mix[i]) * (double{samples[i]} - mix[i]); });
      }
    });
    const double total = count + n, shift = average - mean;
    squares_ += squares + shift * shift * count * n / total;
    apart_ += apart / static_cast<double>(channels);
    mean += shift * n / total;
    count = total;
  }
  // 0 for fewer than two samples.
  double deviation() const {
    const double squares = std::max(squares_, kMonoShare * kMonoShare * (squares_ + apart_));
    return count > 1 ? std::sqrt(squares / (count - 1)) : 0;
  }

  double count = 0, mean = 0;

 protected:
  double squares_ = 0, apart_ = 0;  // of the mono mix around its mean; of the channels around the mono mix, their mean
};

}  // namespace stemedge::core
