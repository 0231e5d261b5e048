// Mean and unbiased deviation of a mono mix, block by block (Chan et al. 1979), as edge.runtime.streams.Statistics.
#pragma once

#include <cmath>
#include <cstddef>

namespace stemedge::core {

class Statistics {
 public:
  template <typename Mono>  // from an index below `size` to the mono sample
  void update(size_t size, Mono mono) {
    if (size == 0) return;
    const double n = static_cast<double>(size);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < size; ++i) sum += mono(i);
    const double average = sum / n;
    for (size_t i = 0; i < size; ++i) squares += (mono(i) - average) * (mono(i) - average);
    const double total = count + n, shift = average - mean;
    squares_ += squares + shift * shift * count * n / total;
    mean += shift * n / total;
    count = total;
  }
  // 0 for fewer than two samples.
  double deviation() const { return count > 1 ? std::sqrt(squares_ / (count - 1)) : 0; }

  double count = 0, mean = 0;

 protected:
  double squares_ = 0;
};

}  // namespace stemedge::core
