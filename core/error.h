// Errors. A UserError is the user's to mend (exit code 2); anything else that escapes is ours (exit code 3).
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace yopo {

/// `text` as one line that a terminal shows and does not obey: control characters (C0, DEL, C1), line separators and
/// those that turn the direction of writing become \x1b or \u202e, bytes that are no UTF-8 \x9b. Escaping twice changes
/// nothing more.
std::string escaped(std::string_view text);

/// The same for a text of several lines: newlines and tabs stay.
std::string escaped_lines(std::string_view text);

/// The user's mistake or the world's (bad file, bad key, full disk). The message names the file, the place, what was
/// expected and what was found; it is escaped here, for much in it is foreign. The command ends with exit code 2.
class UserError : public std::runtime_error {
 public:
  explicit UserError(std::string_view message) : std::runtime_error(escaped(message)) {}
};

/// Our mistake: an invariant of the program does not hold. The command ends with exit code 3.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// The user interrupted the work (SIGINT, SIGTERM); what was done is safe on disk. Exit code 130.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws UserError with a formatted message.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws UserError with a formatted message unless `ok`.
template <typename... Args>
void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws InternalError unless `ok`; for invariants of our own.
void ensure(bool ok, std::string_view what);

/// The known name nearest to `name` by edit distance, or "" when none is near enough to be meant.
std::string nearest(std::string_view name, const std::vector<std::string>& known);

/// "; did you mean 'x'?" or "" when nothing is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& known);

/// `text` from outside made fit for a message: cut after 200 bytes and escaped.
std::string printable(std::string_view text);

}  // namespace yopo
