// Small files in the benchmarks' formats.
#pragma once

#include <map>

#include "core/error.h"
#include "evaluation/benchmarks/files.h"
#include "tests/support/temporary.h"

namespace yopo::testing {

inline const fs::path kDemoImage = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid/data/test/images/0000.png";

inline std::string base64(const std::string& bytes) {
  const char* alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (k < count ? uint8_t(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += k <= count ? alphabet[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

/// A benchmark's folder: files by name, and what reads them.
class BenchmarkFiles {
 public:
  fs::path write(const std::string& name, const std::string& text) {
    write_file(folder_ / name, text);
    return folder_ / name;
  }
  fs::path operator/(const std::string& name) const { return folder_ / name; }
  const fs::path& path() const { return folder_.path(); }
  BenchmarkSource source;

 private:
  TemporaryFolder folder_;
};

}  // namespace yopo::testing
