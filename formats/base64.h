// Base64 (RFC 4648, section 4).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace yopo {

/// UserError naming `place` unless `text` is base64: whole groups of four from the alphabet, padding only at the end.
/// Newlines between the characters are passed over, as every decoder does.
void check_base64(std::string_view text, const std::string& place);

/// The bytes; UserError as check_base64.
std::vector<std::byte> decode_base64(std::string_view text, const std::string& place);

/// The text, padded and without newlines.
std::string encode_base64(std::span<const std::byte> bytes);

}  // namespace yopo
