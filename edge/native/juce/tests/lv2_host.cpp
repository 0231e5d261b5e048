// An LV2 host on lilv, independent of JUCE: raw stereo float32 through the plug-in, in blocks of 1 to 4096 samples.
// usage: lv2_host URI RATE [NAME=VALUE@FRAME ...] [load=FILE] [save=FILE] < in.f32 > out.f32
//        NAME: a parameter, or the symbol of a control port (freeWheeling is 1 from the start: rendered offline);
//        load, save: the plug-in's state. The latency in samples, at the end, goes to stderr as `latency N`.
#include <lilv/lilv.h>
#include <lv2/atom/forge.h>
#include <lv2/buf-size/buf-size.h>
#include <lv2/options/options.h>
#include <lv2/patch/patch.h>
#include <lv2/state/state.h>
#include <lv2/urid/urid.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "blocks.hpp"

namespace {

constexpr uint32_t kEventBytes = 65536;
constexpr const char* kUsage = "usage: lv2_host URI RATE [NAME=VALUE@FRAME ...] [load=FILE] [save=FILE] < in > out";
constexpr const char* kStateUri = "urn:lv2-host:state";

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "lv2_host: %s\n", message.c_str());
  std::exit(1);
}

std::vector<std::string> uris;
LV2_URID map_uri(LV2_URID_Map_Handle, const char* uri) {
  auto known = std::find(uris.begin(), uris.end(), uri);
  if (known == uris.end()) known = uris.insert(uris.end(), uri);
  return static_cast<LV2_URID>(known - uris.begin() + 1);
}
const char* unmap_uri(LV2_URID_Unmap_Handle, LV2_URID urid) { return uris[urid - 1].c_str(); }
LV2_URID urid_of(const char* uri) { return map_uri(nullptr, uri); }

LV2_URID_Map map{nullptr, map_uri};
LV2_URID_Unmap unmap{nullptr, unmap_uri};

struct Arguments {
  std::string uri, load, save;
  double rate = 0;
  std::vector<Change> changes;
};

Arguments parse(int argc, char** argv) {
  if (argc < 3) fail(kUsage);
  Arguments all;
  all.uri = argv[1];
  all.rate = std::atof(argv[2]);
  for (int i = 3; i < argc; ++i) {
    const std::string text = argv[i];
    const std::string name = text.substr(0, text.find('='));
    if (name == "load" || name == "save") {
      (name == "load" ? all.load : all.save) = text.substr(std::min(text.size(), name.size() + 1));
    } else {
      all.changes.push_back(parse_change(text));
      if (all.changes.back().name.empty()) fail(kUsage);
    }
  }
  return all;
}

class Host {
 public:
  explicit Host(const Arguments& arguments) {
    lilv_world_load_all(world_);
    LilvNode* uri = lilv_new_uri(world_, arguments.uri.c_str());
    plugin_ = uri ? lilv_plugins_get_by_uri(lilv_world_get_all_plugins(world_), uri) : nullptr;
    if (!plugin_) fail("no such plug-in (LV2_PATH?)");
    lilv_node_free(uri);
    const int32_t longest = kLongest;
    const LV2_Options_Option options[] = {
        {LV2_OPTIONS_INSTANCE, 0, urid_of(LV2_BUF_SIZE__maxBlockLength), sizeof longest, urid_of(LV2_ATOM__Int),
         &longest},
        {LV2_OPTIONS_INSTANCE, 0, 0, 0, 0, nullptr}};
    const LV2_Feature map_feature{LV2_URID__map, &map}, unmap_feature{LV2_URID__unmap, &unmap},
        bounded{LV2_BUF_SIZE__boundedBlockLength, nullptr},
        option_feature{LV2_OPTIONS__options, const_cast<LV2_Options_Option*>(options)};
    const LV2_Feature* features[] = {&map_feature, &unmap_feature, &bounded, &option_feature, nullptr};
    instance_ = lilv_plugin_instantiate(plugin_, arguments.rate, features);
    if (!instance_) fail("the plug-in does not start");
    find_parameters();
    connect();
    lv2_atom_forge_init(&forge_, &map);
    if (!arguments.load.empty()) restore(arguments.load);
    lilv_instance_activate(instance_);
  }
  ~Host() {
    lilv_instance_deactivate(instance_);
    lilv_instance_free(instance_);
    lilv_world_free(world_);
  }

  // `count` interleaved stereo frames, in place; `changes` are of this block.
  void run(std::vector<float>& frames, uint32_t count, size_t first, const std::vector<Change>& changes) {
    for (size_t c = 0; c < 2; ++c)
      for (size_t i = 0; i < count; ++i) in_[c][i] = frames[2 * i + c];
    write_events(first, changes);
    auto* out_sequence = reinterpret_cast<LV2_Atom*>(out_events_.data());
    out_sequence->type = urid_of(LV2_ATOM__Chunk);
    out_sequence->size = static_cast<uint32_t>(out_events_.size() - sizeof(LV2_Atom));
    lilv_instance_run(instance_, count);
    for (size_t c = 0; c < 2; ++c)
      for (size_t i = 0; i < count; ++i) frames[2 * i + c] = out_[c][i];
  }

  void save(const std::string& file) {
    const uint32_t flags = LV2_STATE_IS_POD | LV2_STATE_IS_PORTABLE;
    LilvState* state = lilv_state_new_from_instance(plugin_, instance_, &map, nullptr, nullptr, nullptr, nullptr,
                                                    nullptr, nullptr, flags, nullptr);
    char* text = state ? lilv_state_to_string(world_, &map, &unmap, state, kStateUri, nullptr) : nullptr;
    if (!text || !(std::ofstream(file) << text)) fail("the state cannot be saved");
    lilv_free(text);
    lilv_state_free(state);
  }

  int latency() { return static_cast<int>(controls_.at("latency")); }

 private:
  void restore(const std::string& file) {
    std::ifstream stream(file);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    LilvState* state = lilv_state_new_from_string(world_, &map, text.c_str());
    if (!state) fail("no state in " + file);
    lilv_state_restore(state, instance_, nullptr, nullptr, 0, nullptr);
    lilv_state_free(state);
  }

  void find_parameters() {  // by the ends of their names
    LilvNode* writable = lilv_new_uri(world_, LV2_PATCH__writable);
    LilvNodes* all = lilv_plugin_get_value(plugin_, writable);
    LILV_FOREACH(nodes, i, all) {
      const std::string name = lilv_node_as_uri(lilv_nodes_get(all, i));
      parameters_[name.substr(name.find_last_of(":#/") + 1)] = urid_of(name.c_str());
    }
    lilv_nodes_free(all);
    lilv_node_free(writable);
  }

  void connect() {
    LilvNode *audio = lilv_new_uri(world_, LILV_URI_AUDIO_PORT), *input = lilv_new_uri(world_, LILV_URI_INPUT_PORT),
             *control = lilv_new_uri(world_, LILV_URI_CONTROL_PORT);
    size_t inputs = 0, outputs = 0;
    for (uint32_t i = 0; i < lilv_plugin_get_num_ports(plugin_); ++i) {
      const LilvPort* port = lilv_plugin_get_port_by_index(plugin_, i);
      const bool is_input = lilv_port_is_a(plugin_, port, input);
      if (lilv_port_is_a(plugin_, port, audio)) {
        size_t& channel = is_input ? inputs : outputs;
        if (channel == 2) fail("the plug-in is not stereo");
        lilv_instance_connect_port(instance_, i, (is_input ? in_ : out_)[channel++].data());
      } else if (lilv_port_is_a(plugin_, port, control)) {
        const std::string symbol = lilv_node_as_string(lilv_port_get_symbol(plugin_, port));
        controls_[symbol] = symbol == "freeWheeling" || symbol == "enabled" ? 1.0f : 0.0f;
        lilv_instance_connect_port(instance_, i, &controls_[symbol]);
      } else {
        lilv_instance_connect_port(instance_, i, (is_input ? in_events_ : out_events_).data());
      }
    }
    if (inputs != 2 || outputs != 2) fail("the plug-in is not stereo");
    for (LilvNode* node : {audio, input, control}) lilv_node_free(node);
  }

  void write_events(size_t first, const std::vector<Change>& changes) {
    lv2_atom_forge_set_buffer(&forge_, in_events_.data(), in_events_.size());
    LV2_Atom_Forge_Frame sequence, object;
    lv2_atom_forge_sequence_head(&forge_, &sequence, 0);
    for (const Change& change : changes) {
      if (controls_.count(change.name)) {
        controls_[change.name] = change.value;
        continue;
      }
      if (!parameters_.count(change.name)) fail("the plug-in has no " + change.name);
      lv2_atom_forge_frame_time(&forge_, static_cast<int64_t>(change.frame - first));
      lv2_atom_forge_object(&forge_, &object, 0, urid_of(LV2_PATCH__Set));
      lv2_atom_forge_key(&forge_, urid_of(LV2_PATCH__property));
      lv2_atom_forge_urid(&forge_, parameters_[change.name]);
      lv2_atom_forge_key(&forge_, urid_of(LV2_PATCH__value));
      lv2_atom_forge_float(&forge_, change.value);
      lv2_atom_forge_pop(&forge_, &object);
    }
    lv2_atom_forge_pop(&forge_, &sequence);
  }

  using Plane = std::vector<float>;
  LilvWorld* world_ = lilv_world_new();
  const LilvPlugin* plugin_ = nullptr;
  LilvInstance* instance_ = nullptr;
  LV2_Atom_Forge forge_{};
  std::map<std::string, LV2_URID> parameters_;
  std::map<std::string, float> controls_;
  std::vector<uint8_t> in_events_ = std::vector<uint8_t>(kEventBytes), out_events_ = std::vector<uint8_t>(kEventBytes);
  Plane in_[2] = {Plane(kLongest), Plane(kLongest)}, out_[2] = {Plane(kLongest), Plane(kLongest)};
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  Host host(arguments);
  std::vector<float> frames(2 * kLongest);
  for (size_t done = 0;;) {
    const size_t count = std::fread(frames.data(), 2 * sizeof(float), next_size(done), stdin);
    if (count == 0) break;
    host.run(frames, static_cast<uint32_t>(count), done, changes_of(arguments.changes, done, count));
    if (std::fwrite(frames.data(), 2 * sizeof(float), count, stdout) != count) fail("stdout cannot be written");
    done += count;
  }
  std::fprintf(stderr, "latency %d\n", host.latency());
  if (!arguments.save.empty()) host.save(arguments.save);
  return 0;
}
