// What the system refused, apart from what a file says.
#pragma once

#include "core/error.h"

namespace yopo {

/// A file that is there could not be opened or read: the disk, rights or limits, not its content. Who can do without a
/// file catches UserError; this one is to be passed on, or a disk's fault would quietly change a result.
class SystemError : public UserError {
 public:
  using UserError::UserError;
};

/// Throws `message` as what `error` was: words around an error must not hide whose it is.
[[noreturn]] inline void fail_as(const UserError& error, const std::string& message) {
  if (dynamic_cast<const SystemError*>(&error) != nullptr) throw SystemError(message);
  throw UserError(message);
}

}  // namespace yopo
