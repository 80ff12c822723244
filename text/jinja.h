// Jinja as chat templates use it: a subset that always ends, run as transformers runs it (trim_blocks, lstrip_blocks).
// What lies outside the subset is refused where it would run, never guessed.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/json.h"

namespace yopo {

namespace jinja {
struct Node;
}

/// A template. Const members may be called from several threads at once.
class Jinja {
 public:
  /// UserError "WHERE: line N: ..." for what is no Jinja, or is a statement outside the subset.
  Jinja(std::string_view text, std::string where);
  ~Jinja();
  Jinja(Jinja&&) noexcept;
  Jinja& operator=(Jinja&&) noexcept;
  /// The text for these variables (an object). UserError for raise_exception, for a filter, test, method or function
  /// outside the subset, for what Jinja itself calls an error, and for a list or an object that would be written out.
  std::string render(const Json& variables) const;

 private:
  std::string where_;
  std::unique_ptr<const jinja::Node> body_;
};

}  // namespace yopo
