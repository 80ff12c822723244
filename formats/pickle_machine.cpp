#include "formats/pickle_machine.h"

#include <bit>
#include <limits>

#include "core/error.h"
#include "core/utf8.h"

namespace yopo {

namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMostValues = 2'000'000, kMostMarks = 1000, kLongestText = size_t(64) << 10, kLongestPickledName = 256;
constexpr PickleId kNothing = std::numeric_limits<PickleId>::max();

/// What may be named: storages are only mentioned, the others are called.
bool is_storage(std::string_view name) {
  return name.starts_with("torch.") && name.ends_with("Storage") && name.find('.', 6) == std::string_view::npos;
}
bool is_known(std::string_view name) {
  return name == "collections.OrderedDict" || name == "torch.Size" || name == "torch._utils._rebuild_tensor_v2" ||
         name == "torch._utils._rebuild_parameter" || is_storage(name);
}

/// The unpickling machine. Opcodes: CPython's Lib/pickletools.py.
class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& where, std::vector<PickleValue>& values)
      : bytes_(bytes), where_(where), values_(values) {}

  PickleId run() {
    if (bytes_.empty() || byte() != 0x80) wrong("not a pickle of protocol 2 to 5");
    const unsigned protocol = byte();
    if (protocol < 2 || protocol > 5) wrong(fmt::format("protocol {}; expected 2 to 5", protocol));
    while (true) {
      start_ = at_;
      const unsigned opcode = byte();
      if (opcode == '.') break;
      if (!atom(opcode) && !memo(opcode) && !container(opcode) && !named(opcode))
        wrong(fmt::format("holds opcode {:#04x}: only tensors are read", opcode));
    }
    const PickleId root = pop();
    if (!stack_.empty() || !marks_.empty()) wrong("values are left over at its end");
    if (at_ != bytes_.size()) wrong(fmt::format("{} bytes follow its end", bytes_.size() - at_));
    return root;
  }

 private:
  [[noreturn]] void wrong(const std::string& what) const { fail("{}: byte {}: {}", where_, start_, what); }

  std::span<const std::byte> take(uint64_t size) {
    if (size > bytes_.size() - at_) wrong(fmt::format("{} bytes expected, {} are left", size, bytes_.size() - at_));
    const auto taken = bytes_.subspan(at_, size);
    at_ += size;
    return taken;
  }
  /// Little-endian.
  uint64_t number(int width) {
    uint64_t value = 0;
    int shift = 0;
    for (const std::byte part : take(uint64_t(width))) value |= uint64_t(part) << shift, shift += 8;
    return value;
  }
  unsigned byte() { return unsigned(number(1)); }
  std::string text(uint64_t size) {
    if (size > kLongestText) wrong(fmt::format("a text of {} bytes; expected at most {}", size, kLongestText));
    const auto taken = take(size);
    std::string value(reinterpret_cast<const char*>(taken.data()), taken.size());
    if (!is_utf8(value)) wrong("a text that is not UTF-8");
    return value;
  }
  std::string line() {
    std::string value;
    for (char c; (c = char(byte())) != '\n'; value += c)
      if (value.size() == kLongestPickledName) wrong("a name without its end");
    return value;
  }

  void push(PickleId id) { stack_.push_back(id); }
  void push_new(PickleValue value) {
    if (values_.size() == kMostValues) wrong(fmt::format("more than {} values", kMostValues));
    values_.push_back(std::move(value));
    push(PickleId(values_.size() - 1));
  }
  /// What lies under the last mark is out of reach.
  void need(size_t count) const {
    if (stack_.size() - (marks_.empty() ? 0 : marks_.back()) < count) wrong("takes a value from an empty stack");
  }
  PickleId top() const {
    need(1);
    return stack_.back();
  }
  PickleId pop() {
    const PickleId id = top();
    stack_.pop_back();
    return id;
  }
  std::vector<PickleId> pop_many(size_t count) {
    need(count);
    std::vector<PickleId> items(stack_.end() - std::ptrdiff_t(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }
  std::vector<PickleId> pop_to_mark() {
    if (marks_.empty()) wrong("no mark");
    std::vector<PickleId> items = pop_many(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }
  void push_tuple(std::vector<PickleId> items) { push_new({Kind::Tuple, 0, 0, {}, std::move(items)}); }
  void push_int(int64_t value) { push_new({Kind::Int, value, 0, {}, {}}); }

  bool atom(unsigned opcode) {
    switch (opcode) {
      case 'N':
        push_new({});
        return true;
      case 0x88:  // NEWTRUE
      case 0x89:  // NEWFALSE
        push_new({Kind::Bool, opcode == 0x88, 0, {}, {}});
        return true;
      case 'J':
        push_int(int32_t(number(4)));
        return true;
      case 'K':
        push_int(int64_t(number(1)));
        return true;
      case 'M':
        push_int(int64_t(number(2)));
        return true;
      case 0x8a: {  // LONG1: two's complement of as many bytes as said
        const unsigned size = byte();
        if (size > 8) wrong(fmt::format("an integer of {} bytes; expected at most 8", size));
        const int unused = int(64 - 8 * size);
        push_int(size == 0 ? 0 : int64_t(number(int(size)) << unused) >> unused);
        return true;
      }
      case 'G': {  // BINFLOAT: big-endian
        uint64_t bits = 0;
        for (const std::byte part : take(8)) bits = bits << 8 | uint64_t(part);
        push_new({Kind::Float, 0, std::bit_cast<double>(bits), {}, {}});
        return true;
      }
      case 'X':
      case 0x8c:  // SHORT_BINUNICODE
      case 0x8d:  // BINUNICODE8
        push_new({Kind::Text, 0, 0, text(number(opcode == 'X' ? 4 : opcode == 0x8c ? 1 : 8)), {}});
        return true;
      case 0x95: {  // FRAME: a hint for readers of streams
        const uint64_t size = number(8);
        if (size > bytes_.size() - at_)
          wrong(fmt::format("a frame of {} bytes, {} are left", size, bytes_.size() - at_));
        return true;
      }
      default:
        return false;
    }
  }

  bool memo(unsigned opcode) {
    if (opcode == 'q' || opcode == 'r' || opcode == 0x94) {  // BINPUT, LONG_BINPUT, MEMOIZE
      const uint64_t index = opcode == 0x94 ? memo_.size() : number(opcode == 'q' ? 1 : 4);
      if (index >= kMostValues) wrong(fmt::format("memo entry {}; expected less than {}", index, kMostValues));
      if (index >= memo_.size()) memo_.resize(index + 1, kNothing);
      memo_[index] = top();
      return true;
    }
    if (opcode != 'h' && opcode != 'j') return false;  // BINGET, LONG_BINGET
    const uint64_t index = number(opcode == 'h' ? 1 : 4);
    if (index >= memo_.size() || memo_[index] == kNothing) wrong(fmt::format("memo entry {} was never made", index));
    push(memo_[index]);
    return true;
  }

  void extend(Kind kind, std::vector<PickleId> items) {
    PickleValue& value = values_[top()];
    if (value.kind != kind) wrong(fmt::format("adds to {}", describe(value)));
    if (kind == Kind::Dict && items.size() % 2 != 0) wrong("a key without its value");
    value.items.insert(value.items.end(), items.begin(), items.end());
  }

  bool container(unsigned opcode) {
    switch (opcode) {
      case '(':
        if (marks_.size() == kMostMarks) wrong(fmt::format("more than {} marks", kMostMarks));
        marks_.push_back(stack_.size());
        return true;
      case ')':
        push_tuple({});
        return true;
      case 't':
        push_tuple(pop_to_mark());
        return true;
      case 0x85:  // TUPLE1
      case 0x86:  // TUPLE2
      case 0x87:  // TUPLE3
        push_tuple(pop_many(opcode - 0x84));
        return true;
      case ']':
        push_new({Kind::List, 0, 0, {}, {}});
        return true;
      case '}':
        push_new({Kind::Dict, 0, 0, {}, {}});
        return true;
      case 'a':
      case 's':
        extend(opcode == 'a' ? Kind::List : Kind::Dict, pop_many(opcode == 'a' ? 1 : 2));
        return true;
      case 'e':
      case 'u':
        extend(opcode == 'e' ? Kind::List : Kind::Dict, pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  void push_global(const std::string& module, const std::string& name) {
    std::string whole = module + "." + name;
    if (!is_known(whole)) wrong(fmt::format("holds {}: only tensors are read", printable(whole)));
    push_new({Kind::Global, 0, 0, std::move(whole), {}});
  }

  void reduce() {
    const PickleId arguments = pop();
    const PickleId called = pop();
    if (values_[called].kind != Kind::Global || values_[arguments].kind != Kind::Tuple)
      wrong(fmt::format("calls {}: only tensors are read", describe(values_[called])));
    const std::string callee = values_[called].text;
    const auto& given = values_[arguments].items;
    if (callee == "collections.OrderedDict") {
      if (!given.empty()) wrong("an OrderedDict made of arguments; torch.save makes it empty and adds to it");
      push_new({Kind::Dict, 0, 0, {}, {}});
    } else if (callee == "torch.Size") {
      if (given.size() != 1 || values_[given[0]].kind != Kind::Tuple)
        wrong("torch.Size of something else than a tuple");
      push(given[0]);
    } else {
      if (is_storage(callee)) wrong(fmt::format("calls {}: only tensors are read", callee));
      // The arguments by number: copying them would let a short pickle grow without end.
      push_new({Kind::Call, 0, 0, callee, {arguments}});
    }
  }

  bool named(unsigned opcode) {
    switch (opcode) {
      case 'c': {
        const std::string module = line();
        push_global(module, line());
        return true;
      }
      case 0x93: {  // STACK_GLOBAL
        const PickleValue &name = values_[pop()], &module = values_[pop()];
        if (name.kind != Kind::Text || module.kind != Kind::Text) wrong("a global whose name is no text");
        if (name.text.size() > kLongestPickledName || module.text.size() > kLongestPickledName)
          wrong("a name too long");
        push_global(std::string(module.text), std::string(name.text));
        return true;
      }
      case 'Q':
        push_new({Kind::Persistent, 0, 0, {}, {pop()}});
        return true;
      case 'R':
        reduce();
        return true;
      case 'b': {  // BUILD: attributes of a dict, such as a module's _metadata
        const PickleId state = pop();
        if (values_[top()].kind != Kind::Dict || values_[state].kind != Kind::Dict)
          wrong(fmt::format("sets the state of {}: only tensors are read", describe(values_[top()])));
        return true;
      }
      default:
        return false;
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::vector<PickleValue>& values_;
  std::vector<PickleId> stack_, memo_;
  std::vector<size_t> marks_;  // stack sizes
  size_t at_ = 0, start_ = 0;  // start_: of the current opcode
};

}  // namespace

PickleId run_pickle(std::span<const std::byte> bytes, const std::string& where, std::vector<PickleValue>& values) {
  return Machine(bytes, where, values).run();
}

}  // namespace yopo
