#include "archive.hpp"

#include <minizip/unzip.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "failure.hpp"

namespace stemedge::core {
namespace {

constexpr size_t kMaxMembers = 65536;
constexpr size_t kMaxName = 4096;

// Memory as a file, for minizip.
struct Memory {
  const uint8_t* data;
  uint64_t size, at;
};

voidpf memory_open(voidpf opaque, const void*, int) { return opaque; }
uLong memory_read(voidpf, voidpf stream, void* buffer, uLong size) {
  auto* memory = static_cast<Memory*>(stream);
  const uint64_t count = std::min<uint64_t>(size, memory->size - memory->at);
  if (count) std::memcpy(buffer, memory->data + memory->at, count);
  memory->at += count;
  return static_cast<uLong>(count);
}
uLong memory_write(voidpf, voidpf, const void*, uLong) { return 0; }
ZPOS64_T memory_tell(voidpf, voidpf stream) { return static_cast<Memory*>(stream)->at; }
long memory_seek(voidpf, voidpf stream, ZPOS64_T offset, int origin) {
  auto* memory = static_cast<Memory*>(stream);
  const uint64_t base = origin == ZLIB_FILEFUNC_SEEK_SET   ? 0
                        : origin == ZLIB_FILEFUNC_SEEK_CUR ? memory->at
                                                           : memory->size;
  if (offset > memory->size - base) return -1;
  memory->at = base + offset;
  return 0;
}
int memory_close(voidpf, voidpf) { return 0; }
int memory_error(voidpf, voidpf) { return 0; }

}  // namespace

struct Archive::State {
  unzFile zip = nullptr;
  Memory memory{};
  std::map<std::string, unz64_file_pos> members;

  ~State() {
    if (zip) unzClose(zip);
  }

  bool list() {
    if (!zip) return false;
    std::vector<char> name(kMaxName + 1);
    for (int code = unzGoToFirstFile(zip); code != UNZ_END_OF_LIST_OF_FILE; code = unzGoToNextFile(zip)) {
      unz_file_info64 info;
      unz64_file_pos position;
      if (code != UNZ_OK || members.size() >= kMaxMembers ||
          unzGetCurrentFileInfo64(zip, &info, name.data(), kMaxName, nullptr, 0, nullptr, 0) != UNZ_OK ||
          unzGetFilePos64(zip, &position) != UNZ_OK)
        return members.empty() ? code == UNZ_OK : true;
      if (info.size_filename < kMaxName)
        members[std::string(name.data(), strnlen(name.data(), info.size_filename))] = position;
    }
    return true;
  }
};

Archive::Archive(std::unique_ptr<State> state) : state_(std::move(state)) {}
Archive::~Archive() = default;

std::unique_ptr<Archive> Archive::open(const std::string& file) {
  auto state = std::make_unique<State>();
  state->zip = unzOpen64(file.c_str());
  return state->list() ? std::unique_ptr<Archive>(new Archive(std::move(state))) : nullptr;
}

std::unique_ptr<Archive> Archive::open(const uint8_t* data, size_t size) {
  auto state = std::make_unique<State>();
  state->memory = {data, size, 0};
  zlib_filefunc64_def functions{memory_open, memory_read,  memory_write, memory_tell,
                                memory_seek, memory_close, memory_error, &state->memory};
  state->zip = unzOpen2_64("", &functions);
  return state->list() ? std::unique_ptr<Archive>(new Archive(std::move(state))) : nullptr;
}

bool Archive::contains(const std::string& name) const { return state_->members.count(name) == 1; }

void Archive::read(const std::string& name, const Sink& sink) const {
  const auto damaged = [&](const char* why) {
    return Failure(STEMEDGE_BAD_BUNDLE, "the archive is damaged (" + name + ": " + why + "); copy it again");
  };
  const auto member = state_->members.find(name);
  unz_file_info64 info;
  if (member == state_->members.end() || unzGoToFilePos64(state_->zip, &member->second) != UNZ_OK ||
      unzGetCurrentFileInfo64(state_->zip, &info, nullptr, 0, nullptr, 0, nullptr, 0) != UNZ_OK)
    throw damaged("not found");
  if (info.flag & 1) throw damaged("encrypted");
  if (unzOpenCurrentFile(state_->zip) != UNZ_OK) throw damaged("no readable member");
  std::vector<uint8_t> block(1 << 18);
  int count = 0;
  bool wanted = true;
  while (wanted && (count = unzReadCurrentFile(state_->zip, block.data(), static_cast<unsigned>(block.size()))) > 0)
    wanted = sink(block.data(), static_cast<size_t>(count));
  const int closed = unzCloseCurrentFile(state_->zip);
  if (count < 0) throw damaged("its data cannot be unpacked");
  if (wanted && closed == UNZ_CRCERROR) throw damaged("its checksum differs");
}

}  // namespace stemedge::core
