// Passes over samples. Their loops are plain, without calls in them, so that compilers make vectors of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace stemedge::core {

inline constexpr double kSilence = 1e-4;   // RMS, -80 dBFS: what is below counts as silent
inline constexpr float kMaxSample = 1e4f;  // beyond it (+80 dBFS) a sample is a fault
inline constexpr size_t kRun = 1024;       // samples of a pass at a time, where there are several over the same ones

// The sum of value(0) to value(count - 1), in any order: in the given one each addition would wait for the last.
// Lambdas that capture by value become vectors.
template <typename Number, typename Value>
Number sum_of(size_t count, Value value) {
  Number sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < count; ++i) sum += value(i);
  return sum;
}

// body(start, count) for all of `count` samples, kRun at a time.
template <typename Body>
void in_runs(size_t count, Body body) {
  for (size_t start = 0; start < count; start += kRun) body(start, std::min(kRun, count - start));
}

// Of the samples value(0) to value(count - 1). In float, as in Python, but no run's sum is so long that rounding shows.
template <typename Value>
double energy_of(size_t count, Value value) {
  double energy = 0;
  in_runs(count, [&](size_t start, size_t size) {
    energy += double{sum_of<float>(size, [=](size_t i) { return value(start + i) * value(start + i); })};
  });
  return energy;
}
inline double energy_of(const float* samples, size_t count) {
  return energy_of(count, [samples](size_t i) { return samples[i]; });
}

// Whether what a model gave is audio: NaN and infinity show in the energy.
inline bool is_audio(const float* samples, size_t count) {
  return energy_of(samples, count) <= double{std::numeric_limits<float>::max()};
}

inline double silent_energy(size_t count) { return kSilence * kSilence * static_cast<double>(count); }

inline bool is_bad(float sample) { return !(std::fabs(sample) < kMaxSample); }

// Zeroes the samples that no audio has; returns how many these are.
inline size_t repair(float* samples, size_t count) {
  const size_t bad = sum_of<uint32_t>(count, [=](size_t i) { return uint32_t{is_bad(samples[i])}; });
  if (bad > 0) std::replace_if(samples, samples + count, is_bad, 0.0f);
  return bad;
}

}  // namespace stemedge::core
