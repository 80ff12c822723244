// Tab-separated tables as pandas.read_table reads them: quoted fields may hold tabs and newlines.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace yopo {

/// One field: a range of the file, or a text of its own where quotes inside had to be undone.
struct TsvField {
  size_t offset = 0, size = 0;     // bytes in the file
  std::optional<std::string> own;  // instead of the range
};

struct TsvRow {
  int64_t line = 0;              // 1-based line the row starts in
  std::vector<TsvField> fields;  // one a column
};

struct Tsv {
  std::shared_ptr<const MappedFile> file;
  std::vector<std::string> columns;
  std::vector<TsvRow> rows;

  std::string_view text(const TsvField& field) const;
  /// Which column has this name; absent: nullopt.
  std::optional<size_t> find(std::string_view column) const;
  /// As find; UserError naming the file and the nearest column if there is none.
  size_t at(std::string_view column) const;
};

/// Reads the table without copying its fields: header line, fields split at tabs, rows at newline, carriage return or
/// both; a quote at the start of a field opens a quoted one, in which a doubled quote is one quote; a quote elsewhere
/// is itself; blank lines are skipped; a byte-order mark is dropped. UserError naming file and line for a row with
/// fewer or more fields than the header, an open quote at the end, repeated columns, no header.
Tsv read_tsv(const fs::path& path);

/// Whether pandas takes this text for a missing value (its default NA strings, the empty text among them).
bool is_pandas_missing(std::string_view text);

}  // namespace yopo
