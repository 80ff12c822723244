// The bytes of one run as files, for readers that take paths.
#pragma once

#include <unistd.h>

#include <fstream>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/progress.h"

namespace yopo::fuzz {

/// A folder of this process, in memory where the system has such a place; removed at its end.
class Folder {
 public:
  Folder() {
    set_quiet(true);
    const fs::path memory = "/dev/shm";
    path_ = (fs::is_directory(memory) ? memory : fs::temp_directory_path()) / fmt::format("yopo-fuzz-{}", ::getpid());
    fs::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
    return path_ / name;
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline const Folder& folder() {
  static const Folder made;
  return made;
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// `count` parts, which lines "===" keep apart; the last ones may be empty.
inline std::vector<std::string_view> parts_of(std::string_view text, size_t count) {
  constexpr std::string_view line = "\n===\n";
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < count && text.find(line) != std::string_view::npos) {
    parts.push_back(text.substr(0, text.find(line) + 1));
    text.remove_prefix(text.find(line) + line.size());
  }
  parts.push_back(text);
  parts.resize(count);
  return parts;
}

/// What a user's file may do at most: a message.
template <typename Read>
void refused_or(const Read& read) {
  try {
    read();
  } catch (const UserError&) {
  }
}

}  // namespace yopo::fuzz
