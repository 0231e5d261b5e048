#include "Chain.h"

namespace {

constexpr double kGainSeconds = 0.02;     // from one gain to another, as of the attenuation limit
constexpr double kShortestLatency = 0.1;  // seconds, of a separator's stream

stemedge_options options_for(const stemedge::Model& model, const Setup& setup) {
  stemedge_options options = stemedge::default_options();
  const stemedge_bundle_info info = model.info();
  options.sample_rate = juce::roundToInt(setup.rate);
  options.channels = setup.channels;
  options.worker = 1;
  options.block = setup.block;
  if (info.task == STEMEDGE_SEPARATE) {
    const double longest = static_cast<double>(info.segment) / info.sample_rate;
    options.latency = juce::jlimit(juce::jmin(kShortestLatency, longest), longest, setup.latency);
    options.consistent = 1;  // all stems at 0 dB are the input
  } else {
    options.low_delay = setup.live;  // up to 0.2 s less, which of a separator's latency is little
  }
  return options;
}

}  // namespace

Chain::Chain(const Setup& setup)
    : setup_(setup),
      model_(setup.bundle.toStdString()),
      stream_(model_, options_for(model_, setup)),
      name_(juce::String::fromUTF8(model_.name().c_str())),
      separates_(model_.info().task == STEMEDGE_SEPARATE),
      latency_(stream_.info().latency),
      stems_(separates_ ? stream_.info().outputs : 0, setup.block),
      ring_(setup.channels, latency_ + setup.block),
      delayed_(setup.channels, setup.block) {
  for (const std::string& source : model_.sources()) sources_.add(juce::String::fromUTF8(source.c_str()));
  if (sources_.size() > kStems)
    throw std::runtime_error(name_.toStdString() + " has " + std::to_string(sources_.size()) +
                             " stems; the plug-in has strips for " + std::to_string(kStems));
  ring_.clear();
  for (auto& gain : gains_) gain.reset(setup.rate, kGainSeconds);
}

bool Chain::process(juce::AudioBuffer<float>& buffer, const Controls& controls) noexcept {
  stemedge_stream_set_offline(stream_.handle(), controls.offline);
  if (!separates_)
    stemedge_stream_set_attenuation_limit(stream_.handle(), -20 * std::log10(juce::jmax(0.0, 1 - controls.strength)));
  for (size_t stem = 0; stem < gains_.size(); ++stem) {
    if (begun_)
      gains_[stem].setTargetValue(controls.gains[stem]);
    else
      gains_[stem].setCurrentAndTargetValue(controls.gains[stem]);
  }
  begun_ = true;
  bool fine = true;
  // A host may bring more than it announced.
  for (int start = 0; start < buffer.getNumSamples(); start += setup_.block) {
    const int count = juce::jmin(setup_.block, buffer.getNumSamples() - start);
    juce::AudioBuffer<float> part(buffer.getArrayOfWritePointers(), buffer.getNumChannels(), start, count);
    fine = process_part(part, controls) && fine;
  }
  return fine;
}

bool Chain::process_part(juce::AudioBuffer<float>& buffer, const Controls& controls) noexcept {
  const int count = buffer.getNumSamples();
  delay(buffer);
  float* const* out = separates_ ? stems_.getArrayOfWritePointers() : buffer.getArrayOfWritePointers();
  const stemedge_status status = stemedge_stream_process(stream_.handle(), buffer.getArrayOfReadPointers(), out,
                                                         static_cast<size_t>(count));
  if (status != STEMEDGE_OK)
    buffer.clear();
  else if (separates_)
    mix(buffer);
  if (controls.bypassed)
    for (int c = 0; c < buffer.getNumChannels(); ++c) buffer.copyFrom(c, 0, delayed_, c, 0, count);
  return status == STEMEDGE_OK;
}

// The stems' sum by their gains. To mono goes the mean of a stem's channels, and a mono stem to all channels.
void Chain::mix(juce::AudioBuffer<float>& buffer) noexcept {
  const int count = buffer.getNumSamples(), width = stems_.getNumChannels() / sources_.size();
  const bool to_mono = buffer.getNumChannels() < width;
  buffer.clear();
  for (int stem = 0; stem < sources_.size(); ++stem) {
    juce::AudioBuffer<float> planes(stems_.getArrayOfWritePointers() + stem * width, width, 0, count);
    gains_[static_cast<size_t>(stem)].applyGain(planes, count);
    const float peak = planes.getMagnitude(0, count);
    auto& level = levels_[static_cast<size_t>(stem)];
    if (peak > level.load(std::memory_order_relaxed)) level.store(peak, std::memory_order_relaxed);
    if (to_mono) {
      for (int c = 0; c < width; ++c) buffer.addFrom(0, 0, planes, c, 0, count, 1.0f / static_cast<float>(width));
    } else {
      for (int c = 0; c < buffer.getNumChannels(); ++c)
        buffer.addFrom(c, 0, planes, juce::jmin(c, width - 1), 0, count);
    }
  }
}

// The input goes into the ring, and what is `latency` old into `delayed_`.
void Chain::delay(const juce::AudioBuffer<float>& buffer) noexcept {
  const int length = ring_.getNumSamples(), count = buffer.getNumSamples();
  const auto in_two = [length](int start, int samples, auto&& copy) {  // copy(place in the ring, in the block, samples)
    const int first = juce::jmin(samples, length - start);
    copy(start, 0, first);
    if (samples > first) copy(0, first, samples - first);
  };
  for (int c = 0; c < setup_.channels; ++c) {
    in_two(at_, count, [&](int place, int from, int samples) { ring_.copyFrom(c, place, buffer, c, from, samples); });
    in_two((at_ + length - latency_) % length, count,
           [&](int place, int to, int samples) { delayed_.copyFrom(c, to, ring_, c, place, samples); });
  }
  at_ = (at_ + count) % length;
}

void Chain::reset() {
  stream_.reset();
  ring_.clear();
  begun_ = false;
}
