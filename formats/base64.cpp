#include "formats/base64.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/error.h"

namespace yopo {

namespace {

constexpr uint8_t kNone = 0xFF, kBlank = 0xFE, kPad = 0xFD;

constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<uint8_t, 256> make_values() {
  std::array<uint8_t, 256> values{};
  values.fill(kNone);
  for (size_t i = 0; i < alphabet.size(); ++i) values[uint8_t(alphabet[i])] = uint8_t(i);
  values[uint8_t('\n')] = values[uint8_t('\r')] = kBlank;
  values[uint8_t('=')] = kPad;
  return values;
}
constexpr std::array<uint8_t, 256> kValues = make_values();

/// Walks the text once and hands every byte it stands for to `put`.
template <typename Put>
void walk(std::string_view text, const std::string& place, Put put) {
  uint32_t bits = 0;
  size_t digits = 0, pads = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const uint8_t value = kValues[uint8_t(text[i])];
    if (value == kBlank) continue;
    require(value != kNone, "{}: not base64: '{}' at byte {}", place, printable(text.substr(i, 1)), i);
    if (value == kPad) {
      ++pads;
      require(pads <= 2 && (digits + pads) % 4 != 1 && digits % 4 >= 2, "{}: not base64: a stray '=' at byte {}", place,
              i);
      continue;
    }
    require(pads == 0, "{}: not base64: text goes on behind the '=' at byte {}", place, i);
    bits = bits << 6 | value;
    ++digits;
    if (digits % 4 != 1) put(std::byte(bits >> (6 - 2 * ((digits + 3) % 4)) & 0xFF));
  }
  require((digits + pads) % 4 == 0, "{}: not base64: it ends inside a group of four ({} characters)", place,
          digits + pads);
}

}  // namespace

void check_base64(std::string_view text, const std::string& place) {
  walk(text, place, [](std::byte) {});
}

std::vector<std::byte> decode_base64(std::string_view text, const std::string& place) {
  std::vector<std::byte> bytes;
  bytes.reserve(text.size() / 4 * 3);
  walk(text, place, [&](std::byte byte) { bytes.push_back(byte); });
  return bytes;
}

std::string encode_base64(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i) bits = bits << 8 | (i < count ? uint32_t(bytes[at + i]) : 0);
    for (size_t i = 0; i < 4; ++i) text += i <= count ? alphabet[bits >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

}  // namespace yopo
