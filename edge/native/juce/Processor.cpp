#include "Processor.h"

#include "Editor.h"

namespace {

constexpr float kQuietest = -60;  // dB: the lower end of a gain, which is silence

juce::AudioParameterFloatAttributes in_unit(const juce::String& unit) {
  return juce::AudioParameterFloatAttributes().withLabel(unit).withStringFromValueFunction(
      [](float value, int) { return juce::String(value, 1); });
}

juce::AudioProcessorValueTreeState::ParameterLayout layout() {
  juce::AudioProcessorValueTreeState::ParameterLayout all;
  const auto id = [](const juce::String& name, int stem) { return juce::ParameterID(name + juce::String(stem), 1); };
  all.add(std::make_unique<juce::AudioParameterFloat>(juce::ParameterID("strength", 1), "Strength",
                                                      juce::NormalisableRange<float>(0, 100), 100.0f,
                                                      in_unit("%")));
  for (int stem = 1; stem <= kStems; ++stem) {
    const juce::String name = "Stem " + juce::String(stem);
    all.add(std::make_unique<juce::AudioParameterFloat>(id("gain", stem), name + " gain",
                                                        juce::NormalisableRange<float>(kQuietest, 12), 0.0f,
                                                        in_unit("dB")));
    all.add(std::make_unique<juce::AudioParameterBool>(id("mute", stem), name + " mute", false));
    all.add(std::make_unique<juce::AudioParameterBool>(id("solo", stem), name + " solo", false));
  }
  return all;
}

}  // namespace

Processor::Processor()
    : AudioProcessor(BusesProperties()
                         .withInput("Input", juce::AudioChannelSet::stereo())
                         .withOutput("Output", juce::AudioChannelSet::stereo())),
      parameters(*this, nullptr, "stem-edge", layout()),
      strength_(parameters.getRawParameterValue("strength")) {
  for (size_t stem = 0; stem < kStems; ++stem) {
    const juce::String number(static_cast<int>(stem) + 1);
    gain_[stem] = parameters.getRawParameterValue("gain" + number);
    mute_[stem] = parameters.getRawParameterValue("mute" + number);
    solo_[stem] = parameters.getRawParameterValue("solo" + number);
  }
}

bool Processor::isBusesLayoutSupported(const BusesLayout& layouts) const {
  const auto& in = layouts.getMainInputChannelSet();
  return in == layouts.getMainOutputChannelSet() &&
         (in == juce::AudioChannelSet::mono() || in == juce::AudioChannelSet::stereo());
}

void Processor::choose(const juce::String& bundle) {
  {
    const juce::ScopedLock lock(lock_);
    // A folder cannot be picked where files can: its manifest stands for it.
    const bool manifest = bundle.endsWith("/manifest.json");
    wanted_.bundle = manifest ? juce::File(bundle).getParentDirectory().getFullPathName() : bundle;
  }
  load_later();
}

void Processor::choose_latency(double seconds) {
  {
    const juce::ScopedLock lock(lock_);
    wanted_.latency = seconds;
  }
  load_later();
}

void Processor::load_later() {
  loader_.addJob([this] {
    load(true);
    updateHostDisplay(ChangeDetails().withNonParameterStateChanged(true));
  });
}

Setup Processor::wanted() const {
  const juce::ScopedLock lock(lock_);
  Setup setup = wanted_;
  if (setup.bundle.isEmpty()) setup.bundle = juce::SystemStats::getEnvironmentVariable("STEMEDGE_BUNDLE", {});
  return setup;
}

// Makes the chain that is wanted, and until it is there the old one plays on. `again`: even if it is the present one.
void Processor::load(bool again) {
  const juce::ScopedLock one(loading_);
  const Setup setup = wanted();
  if (const auto present = status().chain; present && present->setup() == setup && !again) {
    reset();
    return;
  }
  std::shared_ptr<Chain> fresh;
  juce::String problem;
  try {
    if (setup.bundle.isNotEmpty()) fresh = std::make_shared<Chain>(setup);
  } catch (const std::exception& error) {
    problem = juce::String::fromUTF8(error.what());
    juce::Logger::writeToLog("stem-edge: " + problem);  // where the host has no window
  }
  const int latency = fresh ? fresh->latency() : 0;
  {
    const juce::ScopedLock lock(lock_);
    problem_ = problem;
    const juce::SpinLock::ScopedLockType swapping(swap_);
    std::swap(chain_, fresh);
    failed_ = false;
  }
  setLatencySamples(latency);
}

Processor::Status Processor::status() const {
  const juce::ScopedLock lock(lock_);
  const juce::String failed = failed_ ? "the model failed: choose the bundle again" : "";
  return {wanted().bundle, problem_.isEmpty() ? failed : problem_, wanted_.latency, chain_};
}

double Processor::getTailLengthSeconds() const {
  return getSampleRate() > 0 ? getLatencySamples() / getSampleRate() : 0;
}

void Processor::prepareToPlay(double rate, int block) {
  {
    const juce::ScopedLock lock(lock_);
    wanted_.rate = rate;
    wanted_.block = juce::jmax(1, block);
    wanted_.channels = getMainBusNumInputChannels();
    wanted_.live = !isNonRealtime();  // as the host has it now: later changes leave the latency as it is
    prepared_ = true;
  }
  load(false);
}

void Processor::reset() {
  const juce::SpinLock::ScopedLockType lock(swap_);
  if (chain_) chain_->reset();
}

Controls Processor::controls(bool bypassed) const {
  Controls now{static_cast<double>(strength_->load()) / 100, {}, isNonRealtime(), bypassed};
  const auto on = [](const std::atomic<float>* value) { return value->load() > 0.5f; };
  const bool any_solo = std::any_of(solo_.begin(), solo_.end(), on);
  for (size_t stem = 0; stem < kStems; ++stem) {
    const bool heard = !on(mute_[stem]) && (!any_solo || on(solo_[stem]));
    now.gains[stem] = heard ? juce::Decibels::decibelsToGain(gain_[stem]->load(), kQuietest) : 0;
  }
  return now;
}

void Processor::process(juce::AudioBuffer<float>& buffer, bool bypassed) {
  const juce::ScopedNoDenormals no_denormals;
  meter(0, buffer);
  const juce::SpinLock::ScopedTryLockType lock(swap_);  // where it is being changed or none is there, the input goes on
  if (lock.isLocked() && chain_ && chain_->setup().channels == buffer.getNumChannels() && buffer.getNumSamples() > 0)
    if (!chain_->process(buffer, controls(bypassed))) failed_ = true;
  meter(1, buffer);
}

void Processor::meter(size_t index, const juce::AudioBuffer<float>& buffer) {
  const float peak = buffer.getMagnitude(0, buffer.getNumSamples());
  if (peak > levels_[index].load(std::memory_order_relaxed)) levels_[index].store(peak, std::memory_order_relaxed);
}

juce::AudioProcessorEditor* Processor::createEditor() { return new Editor(*this); }

void Processor::getStateInformation(juce::MemoryBlock& state) {
  juce::ValueTree tree = parameters.copyState();
  {
    const juce::ScopedLock lock(lock_);
    tree.setProperty("bundle", wanted_.bundle, nullptr);
    tree.setProperty("latency", wanted_.latency, nullptr);
  }
  if (const auto xml = tree.createXml()) copyXmlToBinary(*xml, state);
}

void Processor::setStateInformation(const void* data, int size) {
  const auto xml = getXmlFromBinary(data, size);
  if (!xml || !xml->hasTagName(parameters.state.getType())) return;
  const auto tree = juce::ValueTree::fromXml(*xml);
  parameters.replaceState(tree);
  bool prepared;
  {
    const juce::ScopedLock lock(lock_);
    wanted_.bundle = tree.getProperty("bundle").toString();
    const double latency = tree.getProperty("latency", 1.0);
    wanted_.latency = std::isfinite(latency) && latency > 0 ? latency : 1.0;
    prepared = prepared_;
  }
  if (prepared) load(false);  // else prepareToPlay comes
}

juce::AudioProcessor* JUCE_CALLTYPE createPluginFilter() { return new Processor(); }
