// Jinja chat templates of checkpoints: found and recognised by their text, never run.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/file.h"

namespace yopo {

struct ChatTemplate {
  std::string text;
  std::string where;  // file and key, for messages
};

/// The template of a checkpoint folder, from the first file that has one, in transformers' order; nullopt where none
/// has. UserError for a value of a wrong type or a list without a "default".
std::optional<ChatTemplate> find_chat_template(const fs::path& folder);

/// Whether two Jinja texts write the same: comments and idle white space do not matter.
bool same_chat_template(std::string_view text, std::string_view other);

}  // namespace yopo
