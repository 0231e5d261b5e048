#include "bundle.hpp"

#include <mbedtls/sha256.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "failure.hpp"

namespace stemedge::core {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxManifest = size_t{64} << 20;

class Sha256 {
 public:
  Sha256() {
    mbedtls_sha256_init(&context_);
    mbedtls_sha256_starts_ret(&context_, 0);
  }
  ~Sha256() { mbedtls_sha256_free(&context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(const uint8_t* data, size_t size) { mbedtls_sha256_update_ret(&context_, data, size); }
  std::string hex() {
    uint8_t digest[32];
    mbedtls_sha256_finish_ret(&context_, digest);
    std::string text;
    for (const uint8_t byte : digest) {
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
    return text;
  }

 private:
  mbedtls_sha256_context context_;
};

[[noreturn]] void refuse(const std::string& message) { throw Failure(STEMEDGE_BAD_BUNDLE, message); }

void stream_file(const std::string& path, const std::string& what, const Archive::Sink& sink) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  const auto failed = [&] { return Failure(STEMEDGE_FAILED, "cannot read " + what + ": " + std::strerror(errno)); };
  if (!file) throw failed();
  std::vector<uint8_t> block(1 << 18);
  while (const size_t count = std::fread(block.data(), 1, block.size(), file.get()))
    if (!sink(block.data(), count)) return;
  if (std::ferror(file.get())) throw failed();
}

}  // namespace

bool Bundle::present(const std::string& name) const {
  std::error_code ignored;
  return archive_ ? archive_->contains(name) : fs::is_regular_file(fs::u8path(path_) / fs::u8path(name), ignored);
}

void Bundle::stream(const std::string& name, const Archive::Sink& sink) const {
  try {
    archive_ ? archive_->read(name, sink) : stream_file(path_ + "/" + name, name, sink);
  } catch (const Failure& failure) {
    throw Failure(failure.status, path_ + ": " + failure.what());
  }
}

void Bundle::check(const std::string& name, std::vector<uint8_t>* copy) const {
  const File& record = manifest_.files.at(name);
  Sha256 digest;
  uint64_t size = 0;
  stream(name, [&](const uint8_t* data, size_t count) {
    digest.update(data, count);
    size += count;
    if (copy) copy->insert(copy->end(), data, data + count);
    return size <= record.bytes;
  });
  if (size != record.bytes)
    refuse(path_ + ": " + name + " has not the " + std::to_string(record.bytes) +
           " bytes that the manifest lists; copy it again");
  if (digest.hex() != record.sha256)
    refuse(path_ + ": " + name + " is damaged (its SHA-256 differs from the manifest); copy it again");
}

void Bundle::check_all() {
  if (!present("manifest.json")) refuse(path_ + ": not a bundle (no manifest.json in it)");
  std::string text;
  stream("manifest.json", [&](const uint8_t* data, size_t count) {
    text.append(reinterpret_cast<const char*>(data), count);
    return text.size() <= kMaxManifest;
  });
  if (text.size() > kMaxManifest) refuse(path_ + ": malformed manifest.json: it is larger than 64 MB");
  manifest_ = parse_manifest(text, path_);
  for (const auto& file : manifest_.files) {
    if (!present(file.first))
      refuse(path_ + ": " + file.first + " is missing from the bundle; export or copy it again");
    check(file.first, nullptr);
  }
}

Bundle Bundle::open(const std::string& path) {
  Bundle bundle(path);
  std::error_code ignored;
  const fs::path place = fs::u8path(path);
  if (!fs::exists(place, ignored)) refuse(path + ": no such bundle");
  if (!fs::is_directory(place, ignored)) {
    bundle.archive_ = fs::is_regular_file(place, ignored) ? Archive::open(path) : nullptr;
    if (!bundle.archive_) refuse(path + ": not a bundle (neither a folder with manifest.json nor a .edge file)");
  }
  bundle.check_all();
  return bundle;
}

Bundle Bundle::open(const uint8_t* data, size_t size) {
  Bundle bundle("(memory)");
  bundle.archive_ = Archive::open(data, size);
  if (!bundle.archive_) refuse("not a bundle (no .edge file)");
  bundle.check_all();
  return bundle;
}

std::vector<uint8_t> Bundle::read(const std::string& name) const {
  std::vector<uint8_t> content;
  content.reserve(manifest_.files.at(name).bytes);
  check(name, &content);
  return content;
}

std::vector<float> Bundle::read_f32(const std::string& name) const {
  const std::vector<uint8_t> content = read(name);
  std::vector<float> values(content.size() / 4);
  std::memcpy(values.data(), content.data(), 4 * values.size());  // little-endian, as all supported processors
  return values;
}

}  // namespace stemedge::core
