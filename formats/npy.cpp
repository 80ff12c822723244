#include "formats/npy.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/dtype.h"
#include "core/error.h"

namespace yopo {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kLongestHeader = size_t(1) << 20;
constexpr size_t kMostNpyDimensions = 32;  // NumPy's own limit

struct Header {
  std::string descr;
  bool fortran = false;
  std::vector<int64_t> shape;
};

/// Reads the header: the literal of a Python dict with the keys descr, fortran_order and shape.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Header parse() {
    Header header;
    bool seen[3] = {};
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      const int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : -1;
      if (which < 0) wrong(fmt::format("unknown key '{}'", printable(key)));
      if (std::exchange(seen[which], true)) wrong(fmt::format("key '{}' twice", key));
      if (which == 0) header.descr = descr();
      if (which == 1) header.fortran = boolean();
      if (which == 2) header.shape = tuple();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    blanks();
    if (at_ != text_.size()) wrong("text after its end");
    if (!seen[0] || !seen[1] || !seen[2]) wrong("expected the keys descr, fortran_order and shape");
    return header;
  }

 private:
  [[noreturn]] void wrong(const std::string& what) const {
    fail("{}: bad .npy header at byte {}: {}", where_, at_, what);
  }
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) wrong(fmt::format("expected '{}'", c));
  }
  std::string string() {
    blanks();
    if (at_ == text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) wrong("expected a string");
    const size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) wrong("a string without its end");
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  std::string descr() {
    blanks();
    if (at_ < text_.size() && text_[at_] == '[') wrong("a structured array; expected booleans or numbers");
    return string();
  }
  bool boolean() {
    blanks();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    wrong("expected True or False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> shape;
    expect('(');
    while (!accept(')')) {
      shape.push_back(integer());
      if (shape.size() > kMostNpyDimensions) wrong(fmt::format("more than {} dimensions", kMostNpyDimensions));
      if (!accept(',')) {
        // "(3)" is a number in Python, "(3,)" a tuple.
        if (shape.size() == 1) wrong("expected a tuple");
        expect(')');
        break;
      }
    }
    return shape;
  }
  int64_t integer() {
    blanks();
    int64_t value = 0;
    const size_t start = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, text_[at_] - '0', &value))
        wrong("a dimension that does not fit");
    if (at_ == start) wrong("expected a dimension");
    return value;
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
};

/// One element as an integer; `kind` is NumPy's: b, i, u or f.
int64_t element(const std::byte* from, char kind, size_t size, bool big_endian, const std::string& where,
                int64_t index) {
  uint64_t bits = 0;
  for (size_t i = 0; i < size; ++i) bits |= uint64_t(from[big_endian ? size - 1 - i : i]) << (8 * i);
  if (kind == 'b') return bits != 0;
  if (kind == 'i') {
    if (size == 1) return int8_t(bits);
    if (size == 2) return int16_t(bits);
    return size == 4 ? int32_t(bits) : int64_t(bits);
  }
  if (kind == 'u') {
    require(bits <= uint64_t(INT64_MAX), "{}: element {} is {}, past 63 bits", where, index, bits);
    return int64_t(bits);
  }
  double value = 0;
  if (size == 8) std::memcpy(&value, &bits, 8);
  if (size == 4) {
    const auto narrow = uint32_t(bits);
    float single;
    std::memcpy(&single, &narrow, 4);
    value = single;
  }
  if (size == 2) value = float_of_fp16(uint16_t(bits));
  require(value == 0 || value == 1, "{}: element {} of a float array is {}; a mask holds only 0 and 1", where, index,
          value);
  return value == 1;
}

}  // namespace

NpyArray read_npy(const fs::path& path) {
  const std::string where = path.string();
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  const auto byte = [&](size_t at) { return size_t(bytes[at]); };
  require(bytes.size() >= 10 && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0, "{}: not a .npy file",
          where);
  const size_t major = byte(6), minor = byte(7);
  require(major >= 1 && major <= 3 && minor == 0, "{}: .npy version {}.{}; expected 1.0, 2.0 or 3.0", where, major,
          minor);
  const size_t start = major == 1 ? 10 : 12;
  require(bytes.size() >= start, "{}: cut short in its header", where);
  const size_t length = major == 1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  require(length <= kLongestHeader, "{}: a header of {} bytes; expected at most {}", where, length, kLongestHeader);
  require(length <= bytes.size() - start, "{}: cut short: the header needs {} bytes, {} are there", where, length,
          bytes.size() - start);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + start, length);
  const Header header = HeaderParser(text, where).parse();

  const std::string& descr = header.descr;
  require(descr.find('O') == std::string::npos, "{}: holds Python objects ('{}'), which are never unpickled", where,
          printable(descr));
  const auto one_of = [&](size_t place, std::string_view letters) {
    return letters.find(descr[place]) != std::string_view::npos;
  };
  const bool known = descr.size() == 3 && one_of(0, "<>|=") &&
                     ((descr[1] == 'b' && descr[2] == '1') || (one_of(1, "iu") && one_of(2, "1248")) ||
                      (descr[1] == 'f' && one_of(2, "248")));
  require(known, "{}: dtype '{}'; expected bool, an integer, or a float of 0 and 1", where, printable(descr));
  const size_t size = size_t(descr[2] - '0');
  const int64_t count = element_count(header.shape, where);
  const auto data = bytes.subspan(start + length);
  require(uint64_t(count) == data.size() / size && data.size() % size == 0,
          "{}: shape {} of '{}' needs {} elements of {} bytes, {} bytes are there", where, shape_string(header.shape),
          descr, count, size, data.size());

  NpyArray array{header.shape, std::vector<int64_t>(static_cast<size_t>(count))};
  const auto at = [&](int64_t index) {
    return element(data.data() + size_t(index) * size, descr[1], size, descr[0] == '>', where, index);
  };
  // Column-major: dimension d advances by the product of the sizes before it.
  std::vector<int64_t> position(header.shape.size()), stride(header.shape.size(), 1);
  for (size_t d = 1; d < stride.size(); ++d) stride[d] = stride[d - 1] * header.shape[d - 1];
  for (int64_t i = 0; i < count; ++i) {
    if (!header.fortran) {
      array.values[size_t(i)] = at(i);
      continue;
    }
    int64_t from = 0;
    for (size_t d = 0; d < position.size(); ++d) from += position[d] * stride[d];
    array.values[size_t(i)] = at(from);
    for (size_t d = position.size(); d-- > 0;) {
      if (++position[d] < header.shape[d]) break;
      position[d] = 0;
    }
  }
  return array;
}

void write_npy_bool(const fs::path& path, const std::vector<std::vector<uint8_t>>& rows) {
  const size_t columns = rows.empty() ? 0 : rows[0].size();
  std::string header =
      fmt::format("{{'descr': '|b1', 'fortran_order': False, 'shape': ({}, {}), }}", rows.size(), columns);
  // NumPy pads so that the data starts at a multiple of 64, the last byte of the header being a newline.
  constexpr size_t kPrefix = 10;
  header.append(63 - (kPrefix + header.size()) % 64, ' ');
  header += '\n';
  std::string out(kMagic);
  out += '\x01';
  out += '\x00';
  out += char(header.size() & 0xff);
  out += char(header.size() >> 8);
  out += header;
  for (const auto& row : rows) {
    ensure(row.size() == columns, "rows of a mask differ in length");
    for (const uint8_t value : row) out += char(value != 0);
  }
  write_text(path, out);
}

}  // namespace yopo
