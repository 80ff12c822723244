// Which process a rank is: on its own machine, others see at once when it is gone.
#pragma once

#include <string>

#include <sys/types.h>

namespace yopo {

struct Member {
  std::string machine;  // equal for processes that see each other
  pid_t process = 0;
  std::string started;  // tells it from a later process of the same number

  static Member self();
  std::string text() const;
  /// UserError for anything that text() does not give.
  static Member parse(const std::string& text);
  /// Whether the process has ended; false on another machine, where that cannot be seen.
  bool gone(const std::string& this_machine) const;
};

}  // namespace yopo
