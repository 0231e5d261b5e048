// The plug-in as the host sees it: parameters, state, latency, and the bundle's chain behind them.
#pragma once

#include "Chain.h"

class Processor : public juce::AudioProcessor {
 public:
  Processor();
  ~Processor() override { loader_.removeAllJobs(false, -1); }  // the pool's own end kills what still loads

  // The bundle folder, its manifest.json or a .edge file. Loads in a thread of its own; `status` tells how it went.
  void choose(const juce::String& bundle);
  void choose_latency(double seconds);
  bool loading() const { return loader_.getNumJobs() > 0; }

  struct Status {
    juce::String bundle, problem;        // problem: empty where all is well
    double latency_choice = 0;           // seconds
    std::shared_ptr<Chain> chain;        // null where none is loaded
  };
  Status status() const;
  float take_level(int meter) { return levels_[static_cast<size_t>(meter)].exchange(0); }  // 0: input, 1: output

  juce::AudioProcessorValueTreeState parameters;

  const juce::String getName() const override { return "stem-edge"; }
  bool acceptsMidi() const override { return false; }
  bool producesMidi() const override { return false; }
  double getTailLengthSeconds() const override;
  int getNumPrograms() override { return 1; }
  int getCurrentProgram() override { return 0; }
  void setCurrentProgram(int) override {}
  const juce::String getProgramName(int) override { return {}; }
  void changeProgramName(int, const juce::String&) override {}
  bool hasEditor() const override { return true; }
  juce::AudioProcessorEditor* createEditor() override;
  bool isBusesLayoutSupported(const BusesLayout& layouts) const override;
  void prepareToPlay(double rate, int block) override;
  void releaseResources() override {}
  void reset() override;
  using juce::AudioProcessor::processBlock;
  void processBlock(juce::AudioBuffer<float>& buffer, juce::MidiBuffer&) override { process(buffer, false); }
  using juce::AudioProcessor::processBlockBypassed;
  void processBlockBypassed(juce::AudioBuffer<float>& buffer, juce::MidiBuffer&) override { process(buffer, true); }
  void getStateInformation(juce::MemoryBlock& state) override;
  void setStateInformation(const void* data, int size) override;

 private:
  Setup wanted() const;
  void load(bool again);
  void load_later();
  void process(juce::AudioBuffer<float>& buffer, bool bypassed);
  Controls controls(bool bypassed) const;
  void meter(size_t index, const juce::AudioBuffer<float>& buffer);

  mutable juce::CriticalSection lock_;  // never of the audio thread; held for moments
  Setup wanted_;                        // under lock_
  bool prepared_ = false;               // under lock_; the host has told its rate
  juce::String problem_;                // under lock_
  juce::CriticalSection loading_;       // one load at a time; held for as long as it takes
  juce::SpinLock swap_;                 // the audio thread only tries
  std::shared_ptr<Chain> chain_;        // changed under lock_ and swap_, read under either
  std::array<std::atomic<float>, 2> levels_{};
  std::atomic<bool> failed_{false};
  std::atomic<float>* strength_;
  std::array<std::atomic<float>*, kStems> gain_{}, mute_{}, solo_{};
  juce::ThreadPool loader_{1};  // last: it ends before what it loads into

  JUCE_DECLARE_NON_COPYABLE_WITH_LEAK_DETECTOR(Processor)
};
