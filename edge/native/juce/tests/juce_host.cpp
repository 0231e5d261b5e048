// A JUCE host: raw stereo float32 through the plug-in of a folder, offline, in blocks of 1 to 4096 samples.
// usage: juce_host FOLDER RATE [NAME=VALUE@FRAME ...] < in.f32 > out.f32
//        FOLDER: with one VST3 or LV2 in it; NAME: a parameter's; VALUE: from 0 to 1, as hosts automate.
// The plug-in's format and latency in samples, at the end, go to stderr as `format F` and `latency N`.
#include <juce_audio_processors/juce_audio_processors.h>

#include <cstdio>

#include "blocks.hpp"

namespace {

constexpr const char* kUsage = "usage: juce_host FOLDER RATE [NAME=VALUE@FRAME ...] < in > out";

[[noreturn]] void fail(const juce::String& message) {
  std::fprintf(stderr, "juce_host: %s\n", message.toRawUTF8());
  std::exit(1);
}

std::unique_ptr<juce::AudioPluginInstance> load(juce::AudioPluginFormatManager& formats, const juce::File& folder,
                                                double rate) {
  juce::OwnedArray<juce::PluginDescription> found;
  for (auto* format : formats.getFormats())
    for (const auto& name : format->searchPathsForPlugins(juce::FileSearchPath(folder.getFullPathName()), true, false))
      format->findAllTypesForFile(found, name);
  if (found.size() != 1) fail(folder.getFullPathName() + " has " + juce::String(found.size()) + " plug-ins");
  juce::String error;
  auto plugin = formats.createPluginInstance(*found[0], rate, kLongest, error);
  if (!plugin) fail(error);
  if (plugin->getTotalNumInputChannels() != 2 || plugin->getTotalNumOutputChannels() != 2)
    fail("the plug-in is not stereo");
  plugin->setNonRealtime(true);
  plugin->prepareToPlay(rate, kLongest);
  plugin->releaseResources();
  plugin->prepareToPlay(rate, kLongest);  // JUCE asks a VST3 for its latency before it is active
  return plugin;
}

void change(juce::AudioPluginInstance& plugin, const Change& wanted) {
  for (auto* parameter : plugin.getParameters())
    if (parameter->getName(100) == juce::String(wanted.name)) return parameter->setValue(wanted.value);
  fail("the plug-in has no " + juce::String(wanted.name));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) fail(kUsage);
  const juce::ScopedJuceInitialiser_GUI initialiser;
  const double rate = std::atof(argv[2]);
  std::vector<Change> changes;
  for (int i = 3; i < argc; ++i) {
    changes.push_back(parse_change(argv[i]));
    if (changes.back().name.empty()) fail(kUsage);
  }
  juce::AudioPluginFormatManager formats;
  formats.addDefaultFormats();
  const auto plugin = load(formats, juce::File::getCurrentWorkingDirectory().getChildFile(argv[1]), rate);
  std::vector<float> frames(2 * kLongest);
  juce::AudioBuffer<float> planes(2, kLongest);
  juce::MidiBuffer midi;
  for (size_t done = 0;;) {
    const size_t count = std::fread(frames.data(), 2 * sizeof(float), next_size(done), stdin);
    if (count == 0) break;
    for (const Change& now : changes_of(changes, done, count)) change(*plugin, now);
    juce::AudioBuffer<float> block(planes.getArrayOfWritePointers(), 2, static_cast<int>(count));
    for (size_t i = 0; i < 2 * count; ++i) block.getWritePointer(static_cast<int>(i % 2))[i / 2] = frames[i];
    plugin->processBlock(block, midi);
    for (size_t i = 0; i < 2 * count; ++i) frames[i] = block.getReadPointer(static_cast<int>(i % 2))[i / 2];
    if (std::fwrite(frames.data(), 2 * sizeof(float), count, stdout) != count) fail("stdout cannot be written");
    done += count;
  }
  std::fprintf(stderr, "format %s\nlatency %d\n", plugin->getPluginDescription().pluginFormatName.toRawUTF8(),
               plugin->getLatencySamples());
  plugin->releaseResources();
  return 0;
}
