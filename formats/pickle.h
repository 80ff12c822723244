// The pickles that torch.save writes for tensors, read as plain data: nothing is ever imported, called or built.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace yopo {

/// Values of a pickle by number; containers hold numbers, so that shared parts are read once.
using PickleId = uint32_t;

struct PickleValue {
  enum class Kind { None, Bool, Int, Float, Text, Tuple, List, Dict, Global, Call, Persistent };
  Kind kind = Kind::None;
  int64_t integer = 0;  // Bool, Int
  double number = 0;    // Float
  std::string text;     // Text (UTF-8); Global: "module.name"; Call: what is called
  std::vector<PickleId>
      items;  // Tuple, List; Dict: key, value, key, value...; Call: its argument tuple; Persistent: its id
};

/// "a dict", "an integer", "torch.FloatStorage": for messages.
std::string describe(const PickleValue& value);

/// A parsed pickle (protocol 2 to 5). The stack machine knows the opcodes of None, booleans, 64-bit integers, floats,
/// text, tuples, lists, dicts, the memo and persistent ids, and by name only: collections.OrderedDict (called without
/// arguments: a dict; its attributes are dropped), torch.Size (the tuple it is made of), torch.*Storage, and calls of
/// torch._utils._rebuild_tensor_v2 and torch._utils._rebuild_parameter, which stay data. Any other name or opcode is a
/// UserError "FILE: byte N: holds X: only tensors are read".
class Pickle {
 public:
  /// UserError naming `where` and the byte also for a stack that runs empty, values that hold themselves, nesting past
  /// 32 levels, more than 2 million values, texts past 64 KiB or not UTF-8, and bytes after the end.
  static Pickle parse(std::span<const std::byte> bytes, const std::string& where);
  const PickleValue& root() const { return (*this)[root_]; }
  PickleId root_id() const { return root_; }
  const PickleValue& operator[](PickleId id) const { return values_[id]; }

 private:
  std::vector<PickleValue> values_;
  PickleId root_ = 0;
};

}  // namespace yopo
