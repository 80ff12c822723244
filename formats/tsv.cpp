#include "formats/tsv.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"

namespace yopo {

namespace {

/// The parser's place in the file.
class Scanner {
 public:
  Scanner(std::string_view text, std::string where) : text_(text), where_(std::move(where)) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
  }

  /// Passes over lines of nothing but spaces. False at the end of the file.
  bool next_row() {
    while (at_ < text_.size()) {
      size_t end = at_;
      while (end < text_.size() && text_[end] == ' ') ++end;
      if (end == text_.size()) return false;
      if (text_[end] != '\n' && text_[end] != '\r') return true;
      at_ = end;
      end_of_line();
    }
    return false;
  }

  TsvRow row() {
    TsvRow row;
    row.line = line_;
    while (true) {
      row.fields.push_back(field());
      if (at_ == text_.size()) return row;
      if (text_[at_] == '\t') {
        ++at_;
        continue;
      }
      end_of_line();
      return row;
    }
  }

  std::string place(int64_t line) const { return fmt::format("{}:{}", where_, line); }

 private:
  bool at_end_of_field() const {
    return at_ == text_.size() || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r';
  }

  void end_of_line() {
    if (text_[at_] == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n') ++at_;
    ++at_;
    ++line_;
  }

  TsvField field() {
    TsvField field;
    if (at_ == text_.size() || text_[at_] != '"') {
      field.offset = at_;
      while (!at_end_of_field()) ++at_;
      field.size = at_ - field.offset;
      return field;
    }
    const int64_t first_line = line_;
    field.offset = ++at_;
    for (bool open = true; open;) {
      const size_t quote = text_.find('"', at_);
      require(quote != std::string_view::npos,
              "{}: a quoted field is still open at the end of the file: is it cut short?", place(first_line));
      const std::string_view piece = text_.substr(at_, quote - at_);
      line_ += std::count(piece.begin(), piece.end(), '\n');
      at_ = quote + 1;
      open = at_ < text_.size() && text_[at_] == '"';
      if (open) {
        if (!field.own) field.own.emplace();
        field.own->append(piece).append(1, '"');
        ++at_;
      } else if (field.own) {
        field.own->append(piece);
      } else {
        field.size = quote - field.offset;
      }
    }
    if (at_end_of_field()) return field;
    // What stands behind the closing quote belongs to the field, quotes in it included.
    if (!field.own) field.own = std::string(text_.substr(field.offset, field.size));
    const size_t tail = at_;
    while (!at_end_of_field()) ++at_;
    field.own->append(text_.substr(tail, at_ - tail));
    return field;
  }

  std::string_view text_;
  std::string where_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

std::string_view Tsv::text(const TsvField& field) const {
  if (field.own) return *field.own;
  return {reinterpret_cast<const char*>(file->bytes().data()) + field.offset, field.size};
}

std::optional<size_t> Tsv::find(std::string_view column) const {
  const auto found = std::find(columns.begin(), columns.end(), column);
  if (found == columns.end()) return std::nullopt;
  return size_t(found - columns.begin());
}

size_t Tsv::at(std::string_view column) const {
  const std::optional<size_t> found = find(column);
  require(found.has_value(), "{}:1: no column '{}' among {}{}", file->path().string(), column,
          printable(fmt::format("{}", fmt::join(columns, ", "))), did_you_mean(column, columns));
  return *found;
}

Tsv read_tsv(const fs::path& path) {
  Tsv table;
  table.file = MappedFile::open(path);
  const std::span<const std::byte> bytes = table.file->bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  require(!text.starts_with("PK\x03\x04"),
          "{}: expected tab-separated text, found a zip archive, as Excel's workbooks are; save the table as text",
          path.string());
  Scanner scanner(text, path.string());
  require(scanner.next_row(), "{}: expected a table with a header line, found nothing", path.string());
  const TsvRow header = scanner.row();
  std::unordered_set<std::string> seen;
  for (const TsvField& field : header.fields) {
    table.columns.emplace_back(table.text(field));
    require(seen.insert(table.columns.back()).second, "{}: column '{}' is there twice", scanner.place(header.line),
            printable(table.columns.back()));
  }
  while (scanner.next_row()) {
    TsvRow row = scanner.row();
    require(row.fields.size() == table.columns.size(), "{}: expected {} fields as in the header, found {}{}",
            scanner.place(row.line), table.columns.size(), row.fields.size(),
            row.fields.size() < table.columns.size() ? ": is the file cut short?" : "");
    table.rows.push_back(std::move(row));
  }
  return table;
}

bool is_pandas_missing(std::string_view text) {
  static const std::unordered_set<std::string_view> missing = {
      "",     "#N/A", "#N/A N/A", "#NA",  "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
      "<NA>", "N/A",  "NA",       "NULL", "NaN",     "None",     "n/a",  "nan",  "null"};
  return missing.contains(text);
}

}  // namespace yopo
