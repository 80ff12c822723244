// The Python package's files beside an export, so that transformers runs it pruned with trust_remote_code.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace yopo {

/// A file as it stands beside config.json. Their imports name one another.
struct CodeFile {
  std::string_view name, text;
};
/// python/yopo's as they were at build time, sorted by name (exporters/embed_code.cmake).
const std::vector<CodeFile>& transformers_code();

/// UserError where the Python package does not know the class that config.json names, or the config has a class of its
/// own for the auto class that ours would be for.
void check_transformers_code(const Json& config, const std::string& where);

/// Writes the files, and names their class in `config`.
void add_transformers_code(Json& config, const fs::path& folder);

/// Of the files' bytes.
std::string transformers_code_fingerprint();

}  // namespace yopo
