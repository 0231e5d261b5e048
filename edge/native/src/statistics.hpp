// Mean and unbiased deviation of a mono mix, block by block (Chan et al. 1979), as edge.runtime.streams.Statistics.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace stemedge::core {

// Of the deviation of all channels that the mono mix keeps in nearly all music: the least that counts. Over a deviation
// near 0 (karaoke tracks, a channel turned around) audio would leave the range of fp16 and int8.
constexpr double kMonoShare = 0.3;

class Statistics {
 public:
  template <typename Sample>  // from a channel and an index below `size` to the sample
  void update(size_t channels, size_t size, Sample sample) {
    if (size == 0) return;
    const auto mono = [&](size_t i) {
      double sum = 0;
      for (size_t c = 0; c < channels; ++c) sum += double{sample(c, i)};
      return sum / static_cast<double>(channels);
    };
    const double n = static_cast<double>(size);
    double sum = 0, squares = 0, apart = 0;
    for (size_t i = 0; i < size; ++i) sum += mono(i);
    const double average = sum / n;
    for (size_t i = 0; i < size; ++i) {
      const double middle = mono(i);
      squares += (middle - average) * (middle - average);
      for (size_t c = 0; c < channels; ++c) {
        const double difference = double{sample(c, i)} - middle;
        apart += difference * difference;
      }
    }
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
