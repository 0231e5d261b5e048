// The plug-in's face: which bundle, what it does, how loud it is, and what is wrong.
#pragma once

#include "Processor.h"

const juce::Colour kBackground(0xff20242b);

// A peak meter that falls slowly.
class Meter : public juce::Component {
 public:
  void feed(float peak) {
    level_ = juce::jmax(peak, level_ * 0.8f);
    repaint();
  }
  void paint(juce::Graphics& g) override;

 private:
  float level_ = 0;
};

class Strip : public juce::Component {
 public:
  Strip(juce::AudioProcessorValueTreeState& parameters, int stem);
  void set_name(const juce::String& name) { name_.setText(name, juce::dontSendNotification); }
  void resized() override;
  Meter meter;

 private:
  juce::Label name_;
  juce::Slider gain_{juce::Slider::LinearVertical, juce::Slider::TextBoxBelow};
  juce::TextButton mute_{"M"}, solo_{"S"};
  juce::AudioProcessorValueTreeState::SliderAttachment gain_attachment_;
  juce::AudioProcessorValueTreeState::ButtonAttachment mute_attachment_, solo_attachment_;
};

class Editor : public juce::AudioProcessorEditor, public juce::FileDragAndDropTarget, private juce::Timer {
 public:
  explicit Editor(Processor& plugin);
  ~Editor() override { stopTimer(); }
  void paint(juce::Graphics& g) override { g.fillAll(kBackground); }
  void resized() override;
  bool isInterestedInFileDrag(const juce::StringArray& files) override { return files.size() == 1; }
  void filesDropped(const juce::StringArray& files, int, int) override { plugin_.choose(files[0]); }

 private:
  void timerCallback() override;
  void choose();
  void tell(const Processor::Status& status);
  void show_strips(Chain* chain);

  Processor& plugin_;
  juce::uint64 late_blocks_ = 0;
  juce::uint32 late_at_ = 0;  // ms
  juce::TextButton choose_{"Bundle..."};
  juce::ComboBox latency_;
  juce::Label title_, about_, problem_, in_label_, out_label_, strength_label_;
  Meter in_, out_;
  juce::Slider strength_{juce::Slider::RotaryHorizontalVerticalDrag, juce::Slider::TextBoxBelow};
  juce::AudioProcessorValueTreeState::SliderAttachment strength_attachment_;
  juce::OwnedArray<Strip> strips_;
  std::unique_ptr<juce::FileChooser> chooser_;
  juce::TooltipWindow tooltips_{this};

  JUCE_DECLARE_NON_COPYABLE_WITH_LEAK_DETECTOR(Editor)
};
