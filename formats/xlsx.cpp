#include "formats/xlsx.h"

#include <utility>

#include <xlsxwriter.h>

#include "core/error.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr size_t kMaxCharacters = 32767, kMaxRows = 1 << 20, kMaxColumns = 1 << 14;  // Excel's
constexpr int64_t kMaxInteger = int64_t(1) << 53;                                    // a cell's number is a double
constexpr time_t kCreated = 946684800;  // 2000-01-01: 0 would stand for today

std::string column_name(size_t column) {
  std::string name;
  for (size_t rest = column + 1; rest > 0; rest = (rest - 1) / 26)
    name.insert(name.begin(), char('A' + (rest - 1) % 26));
  return name;
}

/// Frees a workbook that is given up before it is closed.
struct Workbook {
  lxw_workbook* book = nullptr;
  ~Workbook() {
    if (book != nullptr) lxw_workbook_free(book);
  }
};

void check(lxw_error error, const fs::path& path) {
  require(error == LXW_NO_ERROR, "{}: cannot write the workbook: {}", path.string(), lxw_strerror(error));
}

void write_cell(lxw_worksheet* sheet, size_t row, size_t column, const Cell& cell, const fs::path& path) {
  const auto place = [&] { return fmt::format("{}: {}{}", path.string(), column_name(column), row + 1); };
  const auto at = std::pair(lxw_row_t(row), lxw_col_t(column));
  if (const int64_t* number = std::get_if<int64_t>(&cell)) {
    require(*number <= kMaxInteger && *number >= -kMaxInteger, "{}: a cell cannot hold the number {} exactly", place(),
            *number);
    check(worksheet_write_number(sheet, at.first, at.second, double(*number), nullptr), path);
  } else if (const std::string* given = std::get_if<std::string>(&cell)) {
    const std::string text = repair_utf8(*given);
    require(text.find('\0') == std::string::npos, "{}: a cell cannot hold a zero byte", place());
    const size_t characters = decode_utf8(text).size();
    require(characters <= kMaxCharacters, "{}: a cell holds at most {} characters, found {}", place(), kMaxCharacters,
            characters);
    if (!text.empty()) check(worksheet_write_string(sheet, at.first, at.second, text.c_str(), nullptr), path);
  }
}

}  // namespace

void write_xlsx(const fs::path& path, const std::vector<std::vector<Cell>>& rows) {
  require(rows.size() <= kMaxRows, "{}: a sheet holds at most {} rows, found {}", path.string(), kMaxRows, rows.size());
  AtomicFile file(path);
  file.release();
  Workbook workbook{workbook_new(file.temporary().c_str())};
  ensure(workbook.book != nullptr, "no memory for a workbook");
  lxw_doc_properties properties{};
  properties.created = kCreated;
  check(workbook_set_properties(workbook.book, &properties), path);
  lxw_worksheet* sheet = workbook_add_worksheet(workbook.book, "Sheet1");
  ensure(sheet != nullptr, "no sheet in a new workbook");
  for (size_t row = 0; row < rows.size(); ++row) {
    require(rows[row].size() <= kMaxColumns, "{}: a sheet holds at most {} columns, found {}", path.string(),
            kMaxColumns, rows[row].size());
    for (size_t column = 0; column < rows[row].size(); ++column)
      write_cell(sheet, row, column, rows[row][column], path);
  }
  check(workbook_close(std::exchange(workbook.book, nullptr)), path);
  file.commit();
}

}  // namespace yopo
