#include "images/exif.h"

#include <cstdint>
#include <cstring>
#include <optional>

namespace yopo {

namespace {

/// Numbers at offsets of a TIFF block, in its own byte order; nothing past its end.
class Tiff {
 public:
  explicit Tiff(std::span<const std::byte> bytes) : bytes_(bytes) {
    if (bytes.size() < 8) return;
    little_ = at(0) == 'I';
    const uint8_t mark = little_ ? 'I' : 'M';
    valid_ = at(0) == mark && at(1) == mark && u16(2) == 42;
  }
  bool valid() const { return valid_; }
  std::optional<uint32_t> u16(uint64_t offset) const { return number(offset, 2); }
  std::optional<uint32_t> u32(uint64_t offset) const { return number(offset, 4); }

 private:
  uint8_t at(uint64_t offset) const { return uint8_t(bytes_[size_t(offset)]); }
  std::optional<uint32_t> number(uint64_t offset, uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) return std::nullopt;
    uint32_t value = 0;
    for (uint64_t i = 0; i < size; ++i) value = value << 8 | at(offset + (little_ ? size - 1 - i : i));
    return value;
  }

  std::span<const std::byte> bytes_;
  bool little_ = false, valid_ = false;
};

constexpr uint32_t kOrientation = 0x0112, kShort = 3;

}  // namespace

int exif_orientation(std::span<const std::byte> bytes) {
  const Tiff tiff(bytes);
  if (!tiff.valid()) return 1;
  const std::optional<uint32_t> directory = tiff.u32(4);
  if (!directory) return 1;
  const std::optional<uint32_t> entries = tiff.u16(*directory);
  for (uint32_t i = 0; entries && i < *entries; ++i) {
    const uint64_t entry = uint64_t(*directory) + 2 + uint64_t(i) * 12;
    if (tiff.u16(entry) != kOrientation) continue;
    const std::optional<uint32_t> value = tiff.u16(entry + 8);
    return tiff.u16(entry + 2) == kShort && value && *value >= 2 && *value <= 8 ? int(*value) : 1;
  }
  return 1;
}

int jpeg_orientation(std::span<const std::byte> file) {
  constexpr uint8_t kApp1 = 0xE1, kScan = 0xDA;
  size_t at = 2;  // behind the start marker
  while (at + 4 <= file.size()) {
    if (uint8_t(file[at]) != 0xFF) return 1;
    const uint8_t marker = uint8_t(file[at + 1]);
    if (marker == 0xFF) {  // fill
      ++at;
      continue;
    }
    if (marker == kScan) return 1;
    const size_t length = size_t(uint8_t(file[at + 2])) << 8 | uint8_t(file[at + 3]);  // its own two bytes included
    if (length < 2 || length > file.size() - at - 2) return 1;
    const std::span<const std::byte> body = file.subspan(at + 4, length - 2);
    if (marker == kApp1 && body.size() > 6 && std::memcmp(body.data(), "Exif\0\0", 6) == 0)
      return exif_orientation(body.subspan(6));
    at += 2 + length;
  }
  return 1;
}

Image upright(const Image& image) {
  const int turn = image.orientation;
  if (turn < 2 || turn > 8) return image;
  const int64_t w = image.width, h = image.height;
  const bool swapped = turn >= 5;
  Image out{swapped ? h : w, swapped ? w : h, {}};
  out.rgb.resize(image.rgb.size());
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      int64_t from_x = swapped ? y : x, from_y = swapped ? x : y;
      if (turn == 2 || turn == 3 || turn == 7 || turn == 8) from_x = w - 1 - from_x;
      if (turn == 3 || turn == 4 || turn == 6 || turn == 7) from_y = h - 1 - from_y;
      std::memcpy(&out.rgb[size_t(y * out.width + x) * 3], &image.rgb[size_t(from_y * w + from_x) * 3], 3);
    }
  return out;
}

}  // namespace yopo
