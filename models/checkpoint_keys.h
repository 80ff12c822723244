// The keys of a checkpoint's files as the documentation shows them.
#pragma once

#include <string>
#include <vector>

#include "core/known_keys.h"

namespace yopo {

/// All readers: those that families share, then each family's own.
std::vector<const KeyReader*> checkpoint_key_readers();
/// Every reader's keys in Markdown.
std::string checkpoint_key_table();
/// `text` with that between the lines that mark its place. UserError naming `where` if it has no such lines.
std::string with_checkpoint_keys(const std::string& text, const std::string& where);

}  // namespace yopo
