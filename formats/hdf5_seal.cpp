#include "formats/hdf5_seal.h"

#include <string_view>

#include "core/file.h"

namespace yopo {

namespace {

// Then 32 hex digits, a newline.
constexpr std::string_view kSeal = "\nyopo-hdf5 content ";
constexpr size_t kSealSize = kSeal.size() + 32 + 1;

}  // namespace

std::string hdf5_seal(std::span<const std::byte> content) {
  return fmt::format("{}{}\n", kSeal, Fingerprint().add(content).hex());
}

void check_hdf5_seal(std::span<const std::byte> file, const std::string& where) {
  if (file.size() < kSealSize) return;
  const auto tail = file.last(kSealSize);
  const std::string_view seal(reinterpret_cast<const char*>(tail.data()), tail.size());
  if (!seal.starts_with(kSeal)) return;
  require(seal == hdf5_seal(file.first(file.size() - kSealSize)), "{}: damaged: its content is not what was written",
          where);
}

}  // namespace yopo
