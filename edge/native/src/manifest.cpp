#include "manifest.hpp"

#include <algorithm>
#include <cctype>
#include <climits>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>

#include "failure.hpp"

namespace stemedge::core {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxElements = int64_t{1} << 40;  // of one tensor: far beyond any, and no product overflows

[[noreturn]] void refuse(const std::string& message) { throw Failure(STEMEDGE_BAD_BUNDLE, message); }

void need(bool condition, const std::string& message) {
  if (!condition) refuse(message);
}

// An object of the manifest: typed access by key, and a list of the keys that nobody knows.
class Object {
 public:
  Object(const Json& value, std::string path, std::vector<std::string>& unknown,
         std::initializer_list<const char*> keys)
      : value_(value), path_(std::move(path)) {
    need(value.is_object(), path_ + " must be an object");
    for (const auto& item : value.items())
      if (std::find(keys.begin(), keys.end(), item.key()) == keys.end()) unknown.push_back(name(item.key()));
  }

  std::string name(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  bool has(const char* key) const { return value_.contains(key); }
  bool null(const char* key) const { return !has(key) || value_[key].is_null(); }
  const Json& at(const char* key) const {
    need(has(key), name(key) + " is missing");
    return value_[key];
  }
  std::string text(const char* key) const {
    need(at(key).is_string(), name(key) + " must be a string");
    return at(key).get<std::string>();
  }
  double number(const char* key) const {
    need(at(key).is_number(), name(key) + " must be a number");
    return at(key).get<double>();
  }
  int64_t integer(const char* key) const { return integer(at(key), name(key)); }
  int64_t integer(const char* key, int64_t otherwise) const { return has(key) ? integer(key) : otherwise; }
  const Json& list(const char* key) const {
    need(at(key).is_array(), name(key) + " must be a list");
    return at(key);
  }
  const Json& object(const char* key) const {
    need(at(key).is_object(), name(key) + " must be an object");
    return at(key);
  }
  static int64_t integer(const Json& value, const std::string& name) {
    need(value.is_number_integer(), name + " must be an integer");
    need(!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX, name + " is too large");
    return value.get<int64_t>();
  }

 private:
  const Json& value_;
  std::string path_;
};

using Unknown = std::vector<std::string>;

int small(int64_t value, const std::string& name) {
  need(value >= INT_MIN && value <= INT_MAX, name + " is out of range");
  return static_cast<int>(value);
}

std::vector<int64_t> shape_of(const Object& object) {
  std::vector<int64_t> shape;
  int64_t elements = 1;
  for (const Json& item : object.list("shape")) {
    const int64_t n = Object::integer(item, object.name("shape"));
    need(n > 0, object.name("shape") + " has a dimension below 1");
    need(n <= kMaxElements / elements, object.name("shape") + " is absurdly large");
    elements *= n;
    shape.push_back(n);
  }
  return shape;
}

std::vector<Tensor> tensors(const Object& manifest, const char* key, Unknown& unknown) {
  static const std::set<std::string> dtypes{"float32", "float16", "int64", "int32", "int8", "uint8", "bool"};
  std::vector<Tensor> result;
  for (const Json& item : manifest.list(key)) {
    const Object object(item, std::string(key) + "[" + std::to_string(result.size()) + "]", unknown,
                        {"name", "shape", "dtype"});
    Tensor tensor{object.text("name"), shape_of(object), object.has("dtype") ? object.text("dtype") : "float32"};
    need(dtypes.count(tensor.dtype) == 1, "tensor " + tensor.name + " has unknown dtype '" + tensor.dtype + "'");
    result.push_back(std::move(tensor));
  }
  return result;
}

void before_after(const Object& parent, const char* key, Unknown& unknown) {
  const Object object(parent.at(key), parent.name(key), unknown, {"before", "after"});
  object.number("before");
  object.number("after");
}

// Records that describe and do not steer: only their types matter here.
void check_descriptions(const Object& manifest, Unknown& unknown) {
  const Object compression(
      manifest.at("compression"), "compression", unknown,
      {"prune_ratio", "parameters", "macs_per_second", "attention_macs_per_second", "recovery", "cpu", "calibration"});
  compression.number("prune_ratio");
  before_after(compression, "parameters", unknown);
  before_after(compression, "macs_per_second", unknown);
  if (compression.has("attention_macs_per_second")) before_after(compression, "attention_macs_per_second", unknown);
  if (!compression.null("recovery")) compression.object("recovery");
  if (!compression.null("cpu")) compression.text("cpu");
  if (!compression.null("calibration")) compression.object("calibration");

  const Object quality(manifest.at("quality"), "quality", unknown, {"metric", "reference", "unit", "values"});
  for (const char* key : {"metric", "reference", "unit"}) quality.text(key);
  if (quality.has("values"))
    for (const Json& value : quality.object("values"))
      need(value.is_null() || value.is_number(), "quality.values must be numbers");

  for (const char* key : {"weights_license", "training_data"}) manifest.text(key);
  if (manifest.has("parity"))
    for (const Json& value : manifest.object("parity")) need(value.is_number(), "parity must be numbers");
  if (manifest.has("tools"))
    for (const Json& value : manifest.object("tools")) need(value.is_string(), "tools must be strings");
  if (manifest.has("checkpoints"))
    for (const Json& value : manifest.list("checkpoints")) need(value.is_object(), "checkpoints must be objects");
  if (!manifest.null("agreement")) manifest.object("agreement");
}

void check_precision(const std::string& name) {
  static const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  need(!name.empty() && name.size() <= 32 && letters.find(name[0]) != std::string::npos &&
           name.find_first_not_of(letters + "._-") == std::string::npos,
       "precision '" + name + "' must be letters, digits, -, . and _");
}

void graph(const Json& value, const std::string& format, Manifest& m, Unknown& unknown) {
  need(format == "onnx" || format == "executorch",
       "unknown graph format '" + format + "', not one of onnx, executorch");
  const Object object(value, "graphs." + format, unknown,
                      {"file", "precision", "bytes", "weight_bytes", "ops", "layers", "delegated_macs",
                       "least_runtime"});
  m.graphs[format] = object.text("file");
  object.integer("bytes", 0);
  if (object.has("precision") && !object.text("precision").empty()) check_precision(object.text("precision"));
  object.integer("weight_bytes", 0);
  if (object.has("ops"))
    for (const Json& count : object.object("ops")) Object::integer(count, object.name("ops"));
  if (!object.null("delegated_macs")) object.number("delegated_macs");
  if (!object.null("least_runtime")) object.text("least_runtime");
  m.half[format] = false;
  if (!object.has("layers")) return;
  for (const Json& item : object.list("layers")) {
    const Object layer(item, object.name("layers"), unknown, {"name", "kind", "precision", "reason"});
    layer.text("name");
    layer.text("kind");
    if (layer.text("precision") == "fp16") m.half[format] = true;
    if (layer.has("reason")) layer.text("reason");
  }
}

void golden(const Object& manifest, Manifest& m, Unknown& unknown) {
  const Object object(manifest.at("golden"), "golden", unknown, {"input", "outputs", "stride"});
  const Object input(object.at("input"), "golden.input", unknown, {"file", "shape"});
  m.golden_input = {input.text("file"), shape_of(input), 0};
  for (const auto& item : object.object("outputs").items()) {
    need(item.key() == "onnx" || item.key() == "executorch", "unknown graph format '" + item.key() + "'");
    const Object output(item.value(), "golden.outputs." + item.key(), unknown, {"file", "shape", "min_snr_db"});
    m.golden_outputs[item.key()] = {output.text("file"), shape_of(output), output.number("min_snr_db")};
    need(!m.golden_outputs[item.key()].shape.empty(), output.text("file") + " has a bad shape");
  }
  m.golden_stride = small(object.integer("stride", 1), "golden.stride");
}

bool source_name(const std::string& name) {
  const auto plain = [](unsigned char c) { return c < 128 && std::isalnum(c); };
  return !name.empty() && name.size() <= 64 && plain(static_cast<unsigned char>(name[0])) &&
         std::all_of(name.begin(), name.end(), [&](unsigned char c) { return plain(c) || c == '_' || c == '-'; });
}

// Whether `path` stays inside the bundle on every system: relative, forward slashes, no "..".
bool safe_relative(const std::string& path) {
  if (path.empty() || path.find_first_of(std::string("\\:\0\"<>|?*", 9)) != std::string::npos) return false;
  size_t start = 0;
  while (start <= path.size()) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return false;
    start = end + 1;
  }
  return true;
}

bool same(const std::vector<Tensor>& have, const std::vector<Tensor>& wanted) {
  return std::equal(have.begin(), have.end(), wanted.begin(), wanted.end(),
                    [](const Tensor& a, const Tensor& b) { return a.name == b.name && a.shape == b.shape; });
}

void check_tensors(const Manifest& m, const std::vector<Tensor>& states) {
  std::vector<Tensor> in, out;
  if (m.separates()) {
    need(m.segment > 0, "segment must be positive");
    need(m.hop <= m.segment, "hop is longer than segment");
    in = {{"mix", {1, m.channels, m.segment}, ""}};
    out = {{"stems", {1, static_cast<int64_t>(m.sources.size()), m.channels, m.segment}, ""}};
  } else {
    need(m.channels == 1, "channels must be 1 (each channel of a recording is enhanced on its own)");
    in = {{"audio", {1, m.hop}, ""}};
    out = {{"enhanced", {1, m.hop}, ""}};
    for (const Tensor& state : states) {
      in.push_back(state);
      out.push_back({"next_" + state.name, state.shape, ""});
    }
  }
  need(same(m.inputs, in), "inputs are not those of the task, the sizes and the states");
  need(same(m.outputs, out), "outputs are not those of the task, the sizes and the states");
  need(m.inputs[0].dtype == "float32" && m.outputs[0].dtype == "float32", "audio must be float32");
  for (size_t i = 1; i < m.inputs.size(); ++i)
    need(m.inputs[i].dtype == m.outputs[i].dtype, "state " + m.inputs[i].name + " changes its dtype");
}

void check_files(const Manifest& m) {
  std::vector<std::string> used{m.golden_input.file};
  for (const auto& graph : m.graphs) used.push_back(graph.second);
  for (const auto& output : m.golden_outputs) used.push_back(output.second.file);
  need(!m.files.empty(), "files is empty");
  for (const std::string& path : used)
    need(safe_relative(path) && path != "manifest.json", "unsafe file path '" + path + "'");
  for (const auto& file : m.files) {
    need(safe_relative(file.first) && file.first != "manifest.json", "unsafe file path '" + file.first + "'");
    const std::string& sha = file.second.sha256;
    need(sha.size() == 64 && sha.find_first_not_of("0123456789abcdef") == std::string::npos,
         file.first + " has no SHA-256");
  }
  for (const std::string& path : used) need(m.files.count(path) == 1, path + " is used but not listed in files");
  const auto sized = [&](const GoldenTensor& tensor) {
    const size_t bytes = 4 * Tensor{"", tensor.shape, "float32"}.elements();
    need(m.files.at(tensor.file).bytes == bytes,
         tensor.file + " is not " + std::to_string(bytes) + " bytes as its shape says");
  };
  sized(m.golden_input);
  for (const auto& output : m.golden_outputs) sized(output.second);
}

void check_values(const Manifest& m, const std::vector<Tensor>& states) {
  need(m.task == "separate" || m.task == "enhance", "task is '" + m.task + "', not one of separate, enhance");
  need(m.sample_rate > 0, "sample_rate must be positive");
  need(m.channels > 0, "channels must be positive");
  need(m.hop > 0, "hop must be positive");
  need(m.delay >= 0 && m.latency_samples >= 0, "delay and latency_samples must not be negative");
  need(!m.sources.empty(), "sources is empty");
  need(std::set<std::string>(m.sources.begin(), m.sources.end()).size() == m.sources.size(),
       "sources holds a name twice");
  for (const std::string& source : m.sources)
    need(source_name(source), "source '" + source + "' must be letters, digits, - and _");
  check_tensors(m, states);
  need(!m.graphs.empty(), "graphs is empty");
  need(m.golden_stride > 0, "golden stride must be positive");
  need(m.graphs.size() == m.golden_outputs.size() &&
           std::all_of(m.graphs.begin(), m.graphs.end(),
                       [&](const auto& graph) { return m.golden_outputs.count(graph.first) == 1; }),
       "golden.outputs must have one entry for each graph");
  const auto& shape = m.golden_input.shape;
  if (m.separates())
    need(shape.size() == 2 && shape[0] == m.channels, "golden.input: not (channels, n)");
  else
    need(shape.size() == 1 && shape[0] % m.hop == 0, "golden.input: not (n,), n a multiple of hop");
  check_files(m);
}

void check_version(const Json& data) {
  const std::string version = data.contains("format_version") && data["format_version"].is_string()
                                  ? data["format_version"].get<std::string>()
                                  : "";
  const size_t dot = version.find('.');
  const auto digits = [](const std::string& part) {
    return !part.empty() && part.size() <= 6 && part.find_first_not_of("0123456789") == std::string::npos;
  };
  need(dot != std::string::npos && digits(version.substr(0, dot)) && digits(version.substr(dot + 1)),
       std::string("manifest.json has no valid format_version (this is ") + kFormatVersion + ")");
  need(version.substr(0, dot) == std::string(kFormatVersion, 1),
       "bundle format version " + version + " is not supported, this stem-edge reads " + kFormatVersion +
           "; update stem-edge or export the bundle again");
}

Manifest decode(const Json& data) {
  Unknown unknown;
  const Object object(
      data, "", unknown,
      {"format_version", "name",    "task",      "sources", "sample_rate", "channels", "hop",    "latency_samples",
       "inputs",         "outputs", "precision", "graphs",  "compression", "quality",  "golden", "weights_license",
       "training_data",  "segment", "delay",     "states",  "parity",      "tools",    "files",
       "checkpoints",    "agreement"});
  Manifest m;
  m.format_version = object.text("format_version");
  m.name = object.text("name");
  m.task = object.text("task");
  for (const Json& source : object.list("sources")) {
    need(source.is_string(), "sources must be strings");
    m.sources.push_back(source.get<std::string>());
  }
  check_precision(object.text("precision"));
  m.sample_rate = small(object.integer("sample_rate"), "sample_rate");
  m.channels = small(object.integer("channels"), "channels");
  m.hop = small(object.integer("hop"), "hop");
  m.latency_samples = small(object.integer("latency_samples"), "latency_samples");
  m.delay = small(object.integer("delay", 0), "delay");
  m.segment = object.null("segment") ? 0 : small(object.integer("segment"), "segment");
  m.inputs = tensors(object, "inputs", unknown);
  m.outputs = tensors(object, "outputs", unknown);
  const std::vector<Tensor> states = object.has("states") ? tensors(object, "states", unknown) : std::vector<Tensor>{};
  for (const auto& item : object.object("graphs").items()) graph(item.value(), item.key(), m, unknown);
  check_descriptions(object, unknown);
  golden(object, m, unknown);
  if (object.has("files"))
    for (const auto& item : object.object("files").items()) {
      const Object file(item.value(), "files." + item.key(), unknown, {"bytes", "sha256"});
      const int64_t bytes = file.integer("bytes");
      need(bytes >= 0, item.key() + " has a negative size");
      m.files[item.key()] = {static_cast<uint64_t>(bytes), file.text("sha256")};
    }
  check_values(m, states);
  if (!unknown.empty() || m.format_version != kFormatVersion) {
    m.warning = "format version " + m.format_version + " (this stem-edge knows " + kFormatVersion + ")";
    for (size_t i = 0; i < unknown.size(); ++i) m.warning += (i ? ", " : ", unknown keys ignored: ") + unknown[i];
  }
  return m;
}

}  // namespace

size_t Tensor::elements() const {
  size_t count = 1;
  for (const int64_t n : shape) count *= static_cast<size_t>(n);
  return count;
}

size_t Tensor::bytes() const {
  static const std::map<std::string, size_t> sizes{{"float32", 4}, {"float16", 2}, {"int64", 8}, {"int32", 4},
                                                   {"int8", 1},    {"uint8", 1},   {"bool", 1}};
  return elements() * sizes.at(dtype);
}

Manifest parse_manifest(const std::string& text, const std::string& where) {
  const Json data =
      text.compare(0, 3, "\xEF\xBB\xBF") == 0 ? Json(Json::value_t::discarded) : Json::parse(text, nullptr, false);
  need(!data.is_discarded(), where + ": manifest.json is not valid JSON");
  need(data.is_object(), where + ": manifest.json holds no JSON object");
  try {
    check_version(data);
  } catch (const Failure& failure) {
    refuse(where + ": " + failure.what());
  }
  try {
    Manifest manifest = decode(data);
    manifest.text = text;
    return manifest;
  } catch (const Failure& failure) {
    refuse(where + ": malformed manifest.json: " + failure.what());
  }
}

}  // namespace stemedge::core
