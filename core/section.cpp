#include "core/section.h"

#include "core/error.h"

namespace yopo {

std::string with_section(const std::string& text, std::string_view begin, std::string_view end,
                         const std::string& content, const std::string& where) {
  const std::string first = std::string(begin) + "\n", last = std::string(end) + "\n";
  const size_t from = text.find(first), to = text.find(last);
  require(from != std::string::npos && to != std::string::npos && from < to, "{}: expected the lines '{}' and '{}'",
          where, begin, end);
  return text.substr(0, from) + first + content + text.substr(to);
}

}  // namespace yopo
