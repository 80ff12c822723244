// A part of a document that a program writes, between two lines that mark it.
#pragma once

#include <string>
#include <string_view>

namespace yopo {

/// `text` with everything from the line `begin` to the line `end` replaced by `begin`, `content` and `end`. UserError
/// naming `where` where the two lines are not there, or not in this order.
std::string with_section(const std::string& text, std::string_view begin, std::string_view end,
                         const std::string& content, const std::string& where);

}  // namespace yopo
