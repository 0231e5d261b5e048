#include "Editor.h"

namespace {

const juce::Colour kPanel(0xff2b313b), kText(0xffe6e9ee), kQuiet(0xff8e97a6), kLevel(0xff4fb286),
    kHot(0xffe0a43a), kWrong(0xffe8695b);
constexpr double kLatencies[] = {0.2, 0.5, 1, 2, 4};
constexpr juce::uint32 kLateShown = 10000;  // ms after the last late block
constexpr int kMargin = 12, kRow = 28, kMeter = 14;

void label(juce::Label& l, float size, juce::Colour colour,
           juce::Justification place = juce::Justification::centredLeft) {
  l.setFont(juce::Font(size));
  l.setColour(juce::Label::textColourId, colour);
  l.setJustificationType(place);
  l.setMinimumHorizontalScale(0.7f);
}

// After a parameter is attached, which brings a text of its own.
void show_unit(juce::Slider& slider, const juce::String& unit, int decimals) {
  slider.textFromValueFunction = [unit, decimals](double value) {
    return (decimals ? juce::String(value, decimals) : juce::String(juce::roundToInt(value))) + unit;
  };
  slider.updateText();
}

}  // namespace

void Meter::paint(juce::Graphics& g) {
  g.fillAll(kPanel);
  const float db = juce::jlimit(-60.0f, 6.0f, juce::Decibels::gainToDecibels(level_, -60.0f));
  const auto width = static_cast<float>(getWidth()), whole = static_cast<float>(getHeight());
  const float height = whole * (db + 60) / 66;
  g.setColour(db > -1 ? kWrong : db > -9 ? kHot : kLevel);
  g.fillRect(juce::Rectangle<float>(0, whole - height, width, height));
}

Strip::Strip(juce::AudioProcessorValueTreeState& parameters, int stem)
    : gain_attachment_(parameters, "gain" + juce::String(stem), gain_),
      mute_attachment_(parameters, "mute" + juce::String(stem), mute_),
      solo_attachment_(parameters, "solo" + juce::String(stem), solo_) {
  label(name_, 15, kText, juce::Justification::centred);
  show_unit(gain_, " dB", 1);
  gain_.setColour(juce::Slider::trackColourId, kLevel);
  gain_.setColour(juce::Slider::thumbColourId, kText);
  mute_.setClickingTogglesState(true);
  solo_.setClickingTogglesState(true);
  mute_.setColour(juce::TextButton::buttonOnColourId, kWrong);
  solo_.setColour(juce::TextButton::buttonOnColourId, kHot);
  for (juce::Component* part : std::initializer_list<juce::Component*>{&name_, &gain_, &mute_, &solo_, &meter})
    addAndMakeVisible(part);
}

void Strip::resized() {
  auto area = getLocalBounds().reduced(4);
  name_.setBounds(area.removeFromTop(kRow));
  auto buttons = area.removeFromBottom(kRow);
  mute_.setBounds(buttons.removeFromLeft(buttons.getWidth() / 2).reduced(2));
  solo_.setBounds(buttons.reduced(2));
  meter.setBounds(area.removeFromRight(kMeter));
  gain_.setBounds(area);
}

Editor::Editor(Processor& plugin)
    : AudioProcessorEditor(plugin),
      plugin_(plugin),
      strength_attachment_(plugin.parameters, "strength", strength_) {
  title_.setText("stem-edge", juce::dontSendNotification);
  label(title_, 22, kText);
  label(about_, 14, kQuiet);
  label(problem_, 15, kWrong);
  for (auto* l : {&in_label_, &out_label_, &strength_label_}) label(*l, 13, kQuiet, juce::Justification::centred);
  in_label_.setText("in", juce::dontSendNotification);
  out_label_.setText("out", juce::dontSendNotification);
  strength_label_.setText("strength", juce::dontSendNotification);
  show_unit(strength_, " %", 0);
  strength_.setColour(juce::Slider::rotarySliderFillColourId, kLevel);
  strength_.setColour(juce::Slider::rotarySliderOutlineColourId, kPanel);
  strength_.setColour(juce::Slider::thumbColourId, kText);
  int id = 1;
  for (const double seconds : kLatencies) latency_.addItem(juce::String(seconds) + " s latency", id++);
  latency_.onChange = [this] { plugin_.choose_latency(kLatencies[juce::jmax(0, latency_.getSelectedId() - 1)]); };
  choose_.onClick = [this] { choose(); };
  for (juce::Component* part : std::initializer_list<juce::Component*>{
           &title_, &choose_, &latency_, &about_, &problem_, &in_, &out_, &in_label_, &out_label_, &strength_,
           &strength_label_})
    addAndMakeVisible(part);
  for (int stem = 1; stem <= kStems; ++stem)
    addChildComponent(strips_.add(new Strip(plugin.parameters, stem)));
  setResizable(true, true);
  setResizeLimits(460, 300, 1400, 900);
  setSize(620, 400);
  timerCallback();
  startTimerHz(25);
}

void Editor::choose() {
  const juce::File present(plugin_.status().bundle);
  chooser_ = std::make_unique<juce::FileChooser>("A bundle: its manifest.json, or a .edge file", present,
                                                 "manifest.json;*.edge");
  chooser_->launchAsync(juce::FileBrowserComponent::openMode | juce::FileBrowserComponent::canSelectFiles,
                        [this](const juce::FileChooser& chosen) {
                          if (chosen.getResult() != juce::File()) plugin_.choose(chosen.getResult().getFullPathName());
                        });
}

void Editor::timerCallback() {
  const auto status = plugin_.status();
  in_.feed(plugin_.take_level(0));
  out_.feed(plugin_.take_level(1));
  tell(status);
  const bool separates = status.chain && status.chain->separates();
  strength_.setVisible(status.chain && !separates);
  strength_label_.setVisible(strength_.isVisible());
  latency_.setVisible(separates);
  for (int i = 0; i < static_cast<int>(std::size(kLatencies)); ++i)
    if (kLatencies[i] == status.latency_choice) latency_.setSelectedId(i + 1, juce::dontSendNotification);
  show_strips(separates ? status.chain.get() : nullptr);
}

void Editor::tell(const Processor::Status& status) {
  juce::String about = "no bundle is chosen: the input goes through";
  if (plugin_.loading())
    about = "loading ...";
  else if (status.chain)
    about = status.chain->name() + ", latency " +
            juce::String(juce::roundToInt(1000 * status.chain->latency() / status.chain->setup().rate)) + " ms";
  else if (status.problem.isNotEmpty())
    about = "the input goes through";
  else if (status.bundle.isNotEmpty())
    about = status.bundle + " waits for sound: no device is open";
  about_.setText(about, juce::dontSendNotification);
  about_.setTooltip(status.bundle);
  juce::String problem = status.problem;
  if (problem.isEmpty() && status.chain) {
    const stemedge_counters counters = status.chain->counters();
    if (counters.late_blocks != late_blocks_) late_at_ = juce::Time::getMillisecondCounter();
    late_blocks_ = counters.late_blocks;
    if (late_blocks_ > 0 && juce::Time::getMillisecondCounter() - late_at_ < kLateShown)
      problem = "late " + juce::String(late_blocks_) + " times, the input was heard: this machine is too slow or busy";
    else if (counters.bad_outputs > 0)
      problem = juce::String(counters.bad_outputs) + " results were no audio and are silent";
    else if (counters.bad_inputs > 0)
      problem = juce::String(counters.bad_inputs) + " input samples were no audio and count as 0";
  }
  problem_.setText(problem, juce::dontSendNotification);
  problem_.setTooltip(problem);
}

void Editor::show_strips(Chain* chain) {
  bool changed = false;
  for (int stem = 0; stem < strips_.size(); ++stem) {
    const bool used = chain && stem < chain->sources().size();
    changed = changed || strips_[stem]->isVisible() != used;
    strips_[stem]->setVisible(used);
    if (!used) continue;
    strips_[stem]->set_name(chain->sources()[stem]);
    strips_[stem]->meter.feed(chain->take_stem_level(stem));
  }
  if (changed) resized();
}

void Editor::resized() {
  auto area = getLocalBounds().reduced(kMargin);
  auto top = area.removeFromTop(kRow + 4);
  choose_.setBounds(top.removeFromRight(100));
  top.removeFromRight(8);
  latency_.setBounds(top.removeFromRight(130));
  title_.setBounds(top);
  about_.setBounds(area.removeFromTop(kRow));
  problem_.setBounds(area.removeFromBottom(kRow));
  const auto side = [&](juce::Rectangle<int> place, juce::Label& text, Meter& meter) {
    text.setBounds(place.removeFromBottom(kRow));
    meter.setBounds(place.withSizeKeepingCentre(kMeter, place.getHeight()));
  };
  side(area.removeFromLeft(36), in_label_, in_);
  side(area.removeFromRight(36), out_label_, out_);
  area.reduce(kMargin, 0);
  auto centre = area;
  strength_label_.setBounds(centre.removeFromBottom(kRow));
  const int knob = juce::jmin(180, centre.getWidth(), centre.getHeight());
  strength_.setBounds(centre.withSizeKeepingCentre(knob, knob));
  int visible = 0;
  for (const auto* strip : strips_) visible += strip->isVisible();
  const int width = visible ? juce::jmin(140, area.getWidth() / visible) : 0;
  area = area.withSizeKeepingCentre(width * visible, area.getHeight());
  for (auto* strip : strips_)
    if (strip->isVisible()) strip->setBounds(area.removeFromLeft(width));
}
