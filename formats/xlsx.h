// A table as an Excel workbook of one sheet.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "core/file.h"

namespace yopo {

/// Nothing, a whole number, or a text.
using Cell = std::variant<std::monostate, int64_t, std::string>;

/// Writes rows of cells as `Sheet1`, atomically and with a fixed creation date: equal rows give equal bytes. Ill-formed
/// UTF-8 becomes U+FFFD. UserError naming file, row and column (as Excel does: B2) for what a cell cannot hold: more
/// than 32,767 characters, a zero byte, a number past 2^53.
void write_xlsx(const fs::path& path, const std::vector<std::vector<Cell>>& rows);

}  // namespace yopo
