// The plug-in's processor as hosts use it, from three threads at once: audio, the window's, and the session's.
// usage: threads SECONDS BUNDLE...   Run it under ThreadSanitizer (docs/native.md).
#include <cstdio>

#include "../Processor.h"

juce::AudioProcessor* JUCE_CALLTYPE createPluginFilter();

namespace {

constexpr int kLongest = 1024;
std::atomic<bool> ending{false};
std::atomic<int> blocks{0};

void audio(Processor& plugin) {
  juce::AudioBuffer<float> buffer(2, kLongest);
  juce::MidiBuffer midi;
  juce::Random random(1);
  while (!ending) {
    const int count = 1 + random.nextInt(kLongest);
    juce::AudioBuffer<float> block(buffer.getArrayOfWritePointers(), 2, count);
    for (int i = 0; i < count; ++i)
      for (int c = 0; c < 2; ++c) block.setSample(c, i, random.nextFloat() - 0.5f);
    if (random.nextInt(8) == 0)
      plugin.processBlockBypassed(block, midi);
    else
      plugin.processBlock(block, midi);
    ++blocks;
    juce::Thread::sleep(2);
  }
}

// What the window asks for, and what its user does.
void window(Processor& plugin, const juce::StringArray& bundles) {
  juce::Random random(2);
  for (int turn = 0; !ending; ++turn) {
    if (const auto status = plugin.status(); status.chain) {
      status.chain->counters();
      status.chain->take_stem_level(0);
    }
    plugin.take_level(turn % 2);
    plugin.loading();
    const auto& parameters = plugin.getParameters();
    parameters[random.nextInt(parameters.size())]->setValueNotifyingHost(random.nextFloat());
    if (turn % 20 == 0) plugin.choose(bundles[turn / 20 % bundles.size()]);
    if (turn % 33 == 0) plugin.choose_latency(random.nextBool() ? 0.5 : 1);
    juce::Thread::sleep(10);
  }
}

// The host saves and restores, and rewinds.
void session(Processor& plugin) {
  for (int turn = 0; !ending; ++turn) {
    juce::MemoryBlock state;
    plugin.getStateInformation(state);
    plugin.getLatencySamples();
    plugin.getTailLengthSeconds();
    if (turn % 5 == 0) plugin.setStateInformation(state.getData(), static_cast<int>(state.getSize()));
    if (turn % 7 == 0) plugin.reset();
    juce::Thread::sleep(30);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: threads SECONDS BUNDLE...\n");
    return 2;
  }
  const juce::ScopedJuceInitialiser_GUI initialiser;
  juce::StringArray bundles;
  for (int i = 2; i < argc; ++i) bundles.add(argv[i]);
  const std::unique_ptr<juce::AudioProcessor> made(createPluginFilter());
  auto& plugin = static_cast<Processor&>(*made);
  plugin.choose(bundles[0]);
  plugin.setRateAndBufferSizeDetails(48000, kLongest);
  plugin.prepareToPlay(48000, kLongest);
  std::thread threads[] = {std::thread([&] { audio(plugin); }), std::thread([&] { window(plugin, bundles); }),
                           std::thread([&] { session(plugin); })};
  juce::Thread::sleep(1000 * std::atoi(argv[1]));
  ending = true;
  for (std::thread& thread : threads) thread.join();
  std::printf("%d blocks, %s\n", blocks.load(), plugin.status().problem.toRawUTF8());
  return plugin.status().chain ? 0 : 1;
}
