// Well-formed UTF-8 (RFC 3629): what may go on into YAML and JSON.
#pragma once

#include <cstddef>
#include <string_view>

namespace yopo {

/// Length of the well-formed UTF-8 sequence that `rest` starts with, 0 if it does not.
size_t utf8_length(std::string_view rest);
/// Whether all of `text` is well-formed.
bool is_utf8(std::string_view text);

}  // namespace yopo
