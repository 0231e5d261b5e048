// A bundle's stream at one rate, block size and channel count, mixed to the plug-in's channels.
#pragma once

#include <JuceHeader.h>

#include "stemedge.hpp"

constexpr int kStems = 6;  // as many as the largest known separator has sources

struct Setup {
  juce::String bundle;
  double latency = 1;   // seconds, separators
  double rate = 48000;  // Hz
  int block = 512, channels = 2;
  bool live = true;  // an enhancer's rates are converted with short delays; else exactly
  bool operator==(const Setup& other) const {
    return bundle == other.bundle && latency == other.latency && rate == other.rate && block == other.block &&
           channels == other.channels && live == other.live;
  }
};

// What the user and the host ask of a block.
struct Controls {
  double strength = 1;                // of an enhancer: 0 leaves the input, 1 takes away all that the model does
  std::array<float, kStems> gains{};  // of a separator
  bool offline = false, bypassed = false;
};

class Chain {
 public:
  // Opens the bundle and its stream, which takes as long as loading takes. Throws stemedge::Error, std::runtime_error.
  explicit Chain(const Setup& setup);

  // In place; of the audio thread. False where the model failed: the block is silent.
  bool process(juce::AudioBuffer<float>& buffer, const Controls& controls) noexcept;
  void reset();

  const Setup& setup() const { return setup_; }
  const juce::String& name() const { return name_; }
  const juce::StringArray& sources() const { return sources_; }
  bool separates() const { return separates_; }
  int latency() const { return latency_; }  // samples
  stemedge_counters counters() const { return stream_.counters(); }
  float take_stem_level(int stem) { return levels_[static_cast<size_t>(stem)].exchange(0); }

 private:
  bool process_part(juce::AudioBuffer<float>& buffer, const Controls& controls) noexcept;
  void mix(juce::AudioBuffer<float>& buffer) noexcept;
  void delay(const juce::AudioBuffer<float>& buffer) noexcept;

  Setup setup_;
  stemedge::Model model_;
  stemedge::Stream stream_;
  juce::String name_;
  juce::StringArray sources_;
  bool separates_;
  int latency_;
  bool begun_ = false;
  juce::AudioBuffer<float> stems_;    // source by source its channels; of a separator
  juce::AudioBuffer<float> ring_;     // the last `latency` samples of the input, for bypass
  juce::AudioBuffer<float> delayed_;  // what came out of it
  int at_ = 0;
  std::array<juce::SmoothedValue<float>, kStems> gains_;
  std::array<std::atomic<float>, kStems> levels_{};  // peaks since they were last taken
};
