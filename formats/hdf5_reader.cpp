// The HDF5 library is not made for files that lie: damaged metadata leads it out of its buffers (H5Aopen_by_idx frees
// attributes that it never read), and an open that fails leaves pieces of the library behind, which no caller can
// close. So it writes our files and reads none. This reads the plain part of the format in which they are written, by
// the HDF5 File Format Specification (numbers in comments are its sections): superblock 0, groups as symbol tables,
// object headers 1, contiguous or compact data.
#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <set>

#include "core/dtype.h"
#include "core/error.h"
#include "formats/hdf5.h"
#include "formats/hdf5_seal.h"

namespace yopo {

namespace {

constexpr uint64_t kMostHdf5Dimensions = 32;
constexpr int kDeepestHdf5 = 32;  // groups in groups
constexpr uint64_t kUndefined = UINT64_MAX;
constexpr std::string_view kOlderForm =
    "a form of HDF5 1.8 and later; expected the older one, which h5py writes unless libver or track_order is given";

/// Bytes of the file, every access within them.
struct Piece {
  std::span<const std::byte> bytes;
  std::string_view damaged;  // the message when they do not suffice

  Piece part(uint64_t at, uint64_t size) const {
    require(at <= bytes.size() && size <= bytes.size() - at, "{}", damaged);
    return {bytes.subspan(at, size), damaged};
  }
  Piece from(uint64_t at) const {
    require(at <= bytes.size(), "{}", damaged);
    return {bytes.subspan(at), damaged};
  }
  /// Little-endian, of 1 to 8 bytes.
  uint64_t number(uint64_t at, size_t width) const {
    const auto own = part(at, width).bytes;
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i) value |= uint64_t(own[i]) << (8 * i);
    return value;
  }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  /// Up to the first zero byte, which must be there.
  std::string_view name(uint64_t at) const {
    const std::string_view rest = from(at).text();
    require(rest.find('\0') != std::string_view::npos, "{}", damaged);
    return rest.substr(0, rest.find('\0'));
  }
  void expect(std::string_view signature) const { require(text().starts_with(signature), "{}", damaged); }
};

/// All of it. Damage can lead every name to the same long table: what is looked at is counted over the whole file.
struct File : Piece {
  size_t steps_left = 1'000'000;
  void step() {
    require(steps_left > 0, "{}", damaged);
    --steps_left;
  }
};

enum MessageType : uint64_t {
  kDataspace = 0x01,
  kLinkInfo = 0x02,
  kDatatype = 0x03,
  kLink = 0x06,
  kExternal = 0x07,
  kLayout = 0x08,
  kAttribute = 0x0c,
  kContinuation = 0x10,
  kSymbolTable = 0x11,
  kAttributeInfo = 0x15
};

struct Message {
  uint64_t type;
  bool shared;  // the body says where the message is instead
  Piece body;
};
using Messages = std::vector<Message>;

/// The object header at `address` with all its continuations (IV.A.1.a).
Messages messages_at(File& file, uint64_t address, const std::string& what) {
  const Piece header = file.from(address);
  require(!header.text().starts_with("OHDR"), "{}: {}", what, kOlderForm);
  require(header.number(0, 1) == 1, "{}", file.damaged);
  std::vector<Piece> blocks{header.part(16, header.number(8, 4))};
  std::set<uint64_t> seen;
  Messages messages;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const Piece block = blocks[i];
    for (uint64_t at = 0; at + 8 <= block.bytes.size();) {
      const uint64_t type = block.number(at, 2), size = block.number(at + 2, 2), flags = block.number(at + 4, 1);
      const Piece body = block.part(at + 8, size);
      at += 8 + size;
      if (type == kContinuation) {
        require(seen.insert(body.number(0, 8)).second, "{}", file.damaged);
        blocks.push_back(file.part(body.number(0, 8), body.number(8, 8)));
      }
      messages.push_back({type, (flags & 2) != 0, body});
      file.step();
    }
  }
  return messages;
}

const Message* find(const Messages& messages, uint64_t type) {
  const auto found = std::find_if(messages.begin(), messages.end(), [&](const Message& m) { return m.type == type; });
  return found == messages.end() ? nullptr : &*found;
}

const Piece& body_of(const Messages& messages, uint64_t type, const std::string& what) {
  const Message* found = find(messages, type);
  require(found != nullptr && !found->shared, "{}: its {} is not with it", what,
          type == kDataspace  ? "shape"
          : type == kDatatype ? "type"
                              : "place");
  return found->body;
}

struct Shape {
  std::vector<int64_t> sizes;
  int64_t count;
};

/// A dataspace message (IV.A.2.b).
Shape shape_of(const Piece& body, int64_t limit, const std::string& what) {
  const uint64_t version = body.number(0, 1), rank = body.number(1, 1);
  require(version == 1 || version == 2, "{}", body.damaged);
  require(version == 1 || body.number(3, 1) < 2, "{}: it has no plain shape", what);
  require(rank <= kMostHdf5Dimensions, "{}: {} dimensions", what, rank);
  Shape shape;
  for (uint64_t i = 0; i < rank; ++i) {
    const uint64_t size = body.number((version == 1 ? 8 : 4) + 8 * i, 8);
    require(size <= uint64_t(INT64_MAX), "{}: a dimension that does not fit", what);
    shape.sizes.push_back(int64_t(size));
  }
  shape.count = element_count(shape.sizes, what);
  require(shape.count <= limit, "{}: {} elements; expected at most {}", what, shape.count, limit);
  return shape;
}

struct Type {
  enum Kind { Float, Integer, Text } kind;
  uint64_t width;  // bytes
  bool big_endian = false, is_signed = false;
};

/// A datatype message (IV.A.2.d): of numbers those that a CPU has.
Type type_of(const Piece& body, const std::string& what) {
  const uint64_t kind = body.number(0, 1) & 15, bits = body.number(1, 3), width = body.number(4, 4);
  const bool big = (bits & 1) != 0;
  const auto whole = [&] { return body.number(8, 2) == 0 && body.number(10, 2) == 8 * width; };
  if (kind == 0) {
    require(std::has_single_bit(width) && width <= 8 && whole(), "{}: integers of an unknown kind", what);
    const bool is_signed = (bits & 8) != 0;
    require(is_signed || width < 8, "{}: unsigned 64-bit integers; expected signed", what);
    return {Type::Integer, width, big, is_signed};
  }
  if (kind == 1) {
    const bool wide = width == 8;
    const uint64_t fraction = wide ? 52 : 23, exponent = wide ? 11 : 8;
    // IEEE 754: byte order, implied leading bit, place of the sign; then the fields' places and sizes, and the bias.
    const bool ieee = (wide || width == 4) && whole() && (bits & 0x40) == 0 && (bits >> 4 & 3) == 2 &&
                      (bits >> 8 & 0xff) == 8 * width - 1 && body.number(12, 1) == fraction &&
                      body.number(13, 1) == exponent && body.number(14, 1) == 0 && body.number(15, 1) == fraction &&
                      body.number(16, 4) == (uint64_t(1) << (exponent - 1)) - 1;
    require(ieee, "{}: floats of an unknown kind; expected IEEE 754 of 4 or 8 bytes", what);
    return {Type::Float, width, big};
  }
  require(kind != 9, "{}: variable-length text; expected fixed-length", what);
  require(kind == 3, "{}: expected floats, integers or text", what);
  require(width > 0, "{}: text of no width", what);
  return {Type::Text, width};
}

/// Element `i` as the bits of an unsigned number.
uint64_t element(const std::byte* data, const Type& type, int64_t i) {
  const std::byte* from = data + uint64_t(i) * type.width;
  uint64_t value = 0;
  for (uint64_t b = 0; b < type.width; ++b)
    value |= uint64_t(from[type.big_endian ? type.width - 1 - b : b]) << (8 * b);
  return value;
}

double float_of(uint64_t bits, uint64_t width) {
  return width == 8 ? std::bit_cast<double>(bits) : double(std::bit_cast<float>(uint32_t(bits)));
}

int64_t integer_of(uint64_t bits, const Type& type) {
  const int unused = int(64 - 8 * type.width);
  return type.is_signed ? int64_t(bits << unused) >> unused : int64_t(bits);
}

/// Fixed-length text ends at its first zero byte or at its width.
std::string fixed_text(const std::byte* data, uint64_t width) {
  const std::string_view cell(reinterpret_cast<const char*>(data), width);
  return std::string(cell.substr(0, cell.find('\0')));
}

/// Where a dataset's `size` bytes are (IV.A.2.i).
Piece data_of(const Piece& file, const Piece& layout, uint64_t size, const std::string& what) {
  const uint64_t version = layout.number(0, 1), kind = layout.number(1, 1);
  require(version == 3 || version == 4, "{}: a layout of version {}; expected 3 or 4", what, version);
  require(kind < 2, "{}: chunked, virtual or external data; expected contiguous", what);
  if (kind == 0) return layout.part(4, layout.number(2, 2)).part(0, size);
  if (size == 0) return layout.part(0, 0);
  const uint64_t address = layout.number(2, 8);
  require(address != kUndefined, "{}: no data was ever written", what);
  require(layout.number(10, 8) >= size, "{}: its data is shorter than its shape", what);
  return file.part(address, size);
}

/// `bytes_left` is what of the file's size earlier datasets have not taken: no small file can claim gigabytes.
Hdf5Array read_dataset(const Piece& file, const Messages& messages, int64_t limit, uint64_t& bytes_left,
                       const std::string& what) {
  const Shape shape = shape_of(body_of(messages, kDataspace, what), limit, what);
  require(find(messages, kExternal) == nullptr, "{}: chunked, virtual or external data; expected contiguous", what);
  const Type type = type_of(body_of(messages, kDatatype, what), what);
  require(uint64_t(shape.count) <= bytes_left / type.width, "{}: {} elements of {} bytes are more than the file holds",
          what, shape.count, type.width);
  const uint64_t size = uint64_t(shape.count) * type.width;
  bytes_left -= size;
  const std::byte* data = data_of(file, body_of(messages, kLayout, what), size, what).bytes.data();
  Hdf5Array array{shape.sizes, {}};
  const auto count = static_cast<size_t>(shape.count);
  if (type.kind == Type::Float) {
    std::vector<double> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = float_of(element(data, type, int64_t(i)), type.width);
    array.values = std::move(values);
  } else if (type.kind == Type::Integer) {
    std::vector<int64_t> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = integer_of(element(data, type, int64_t(i)), type);
    array.values = std::move(values);
  } else {
    std::vector<std::string> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = fixed_text(data + i * type.width, type.width);
    array.values = std::move(values);
  }
  return array;
}

/// An attribute message (IV.A.2.m) as name and text.
std::pair<std::string, std::string> read_attribute(const Message& message, const std::string& where) {
  const Piece& body = message.body;
  const uint64_t version = body.number(0, 1);
  require(!message.shared && version >= 1 && version <= 3 && (version == 1 || body.number(1, 1) == 0),
          "{}: an attribute: {}", where, kOlderForm);
  const auto padded = [&](uint64_t size) { return version == 1 ? (size + 7) / 8 * 8 : size; };
  const uint64_t name_size = body.number(2, 2), type_size = body.number(4, 2), space_size = body.number(6, 2);
  uint64_t at = version == 3 ? 9 : 8;
  const std::string name(body.part(at, name_size).name(0));
  const std::string what = fmt::format("cannot read {}: attribute '{}'", where, printable(name));
  at += padded(name_size);
  const Type type = type_of(body.part(at, type_size), what);
  at += padded(type_size);
  const Shape shape = shape_of(body.part(at, space_size), 1, what);
  at += padded(space_size);
  require(type.kind == Type::Text, "{}: expected text", what);
  require(shape.count == 1, "{}: expected one text", what);
  return {name, fixed_text(body.part(at, type.width).bytes.data(), type.width)};
}

struct Entry {
  std::string name;
  uint64_t address;
};

/// The links of a group (III.A, III.B, III.D): a tree of tables of names in a heap.
std::vector<Entry> entries_of(File& file, const Piece& table, const std::string& where) {
  const Piece heap = file.from(table.number(8, 8));
  heap.expect("HEAP");
  const Piece names = file.part(heap.number(24, 8), heap.number(8, 8));
  std::vector<Entry> entries;
  struct Node {
    uint64_t address;
    std::optional<uint64_t> level;  // none: a table
  };
  const uint64_t root = table.number(0, 8);
  std::vector<Node> open{{root, file.part(root, 24).number(5, 1)}};
  std::set<uint64_t> seen;
  while (!open.empty()) {
    const Node node = open.back();
    open.pop_back();
    require(seen.insert(node.address).second, "{}", file.damaged);
    const Piece bytes = file.from(node.address);
    if (node.level) {
      bytes.expect(std::string_view("TREE\0", 5));
      require(bytes.number(5, 1) == *node.level, "{}", file.damaged);
      const auto below = *node.level > 0 ? std::optional<uint64_t>(*node.level - 1) : std::nullopt;
      for (uint64_t i = 0; i < bytes.number(6, 2); ++i) {
        open.push_back({bytes.number(32 + 16 * i, 8), below});
        file.step();
      }
      continue;
    }
    bytes.expect("SNOD");
    for (uint64_t i = 0; i < bytes.number(6, 2); ++i) {
      const Piece entry = bytes.part(8 + 40 * i, 40);
      const std::string name(names.name(entry.number(0, 8)));
      require(!name.empty() && name.find('/') == std::string::npos, "{}", file.damaged);
      require(entry.number(16, 4) < 2, "{}: '{}' is a soft or external link", where, printable(name));
      entries.push_back({name, entry.number(8, 8)});
      file.step();
    }
  }
  return entries;
}

/// The address of the root's object header (II.A).
uint64_t root_of(const Piece& file, const std::string& where) {
  require(file.text().starts_with("\x89HDF\r\n\x1a\n"), "{}: not an HDF5 file", where);
  const uint64_t version = file.number(8, 1), more = version == 1 ? 4 : 0;
  require(version < 2, "{}: {}", where, kOlderForm);
  require(file.number(13, 1) == 8 && file.number(14, 1) == 8, "{}: addresses of {} and sizes of {} bytes; expected 8",
          where, file.number(13, 1), file.number(14, 1));
  require(file.number(24 + more, 8) == 0 && file.number(40 + more, 8) <= file.bytes.size(), "{}", file.damaged);
  return file.number(64 + more, 8);
}

}  // namespace

Hdf5File read_hdf5(const fs::path& path, int64_t limit) {
  const std::string where = path.string();
  const auto mapped = MappedFile::open(path);
  check_hdf5_seal(mapped->bytes(), where);
  const std::string damaged = fmt::format("cannot read {}: a damaged HDF5 file", where);
  File file{{mapped->bytes(), damaged}};
  uint64_t bytes_left = file.bytes.size();
  struct Object {
    std::string name;
    uint64_t address;
    int depth;
  };
  std::vector<Object> open{{"", root_of(file, where), 0}};
  std::set<uint64_t> groups;
  Hdf5File content;
  while (!open.empty()) {
    const Object object = std::move(open.back());
    open.pop_back();
    const std::string what = object.depth == 0
                                 ? "cannot read " + where
                                 : fmt::format("cannot read {}: dataset {}", where, printable(object.name));
    const Messages messages = messages_at(file, object.address, what);
    const bool newer = find(messages, kLinkInfo) || find(messages, kLink) || find(messages, kAttributeInfo);
    require(!newer, "{}: {}", what, kOlderForm);
    const Message* table = find(messages, kSymbolTable);
    if (object.depth == 0) {
      require(table != nullptr, "{}", damaged);
      for (const Message& message : messages)
        if (message.type == kAttribute) content.attributes.insert(read_attribute(message, where));
    }
    if (table == nullptr) {
      require(find(messages, kLayout) != nullptr, "{}: '{}' is neither a dataset nor a group", where,
              printable(object.name));
      content.datasets.emplace(object.name, read_dataset(file, messages, limit, bytes_left, what));
      continue;
    }
    require(object.depth <= kDeepestHdf5, "{}: groups nested too deep", where);
    require(groups.insert(object.address).second, "{}: '{}' is a group of another name, too", where,
            printable(object.name));
    for (const Entry& entry : entries_of(file, table->body, where))
      open.push_back({object.name + "/" + entry.name, entry.address, object.depth + 1});
  }
  return content;
}

}  // namespace yopo
