// Files that an earlier run may have left.
#pragma once

#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "core/progress.h"
#include "core/system_error.h"

namespace yopo {

/// What `read` makes of the file's JSON; nothing where it is not there, or, with a warning, damaged: then it is to be
/// made again.
template <typename Read>
auto stored(const fs::path& file, const Read& read) -> std::optional<decltype(read(Json()))> {
  if (!fs::exists(file)) return std::nullopt;
  try {
    return read(read_json(file));
  } catch (const SystemError&) {
    throw;
  } catch (const UserError& error) {
    warn(fmt::format("{}; it is made again", error.what()));
    return std::nullopt;
  }
}

}  // namespace yopo
