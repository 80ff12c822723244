#include "formats/pickle.h"

#include <algorithm>

#include "core/error.h"
#include "formats/pickle_machine.h"

namespace yopo {

namespace {

constexpr uint8_t kDeepestPickle = 32;

/// Levels below `root`, by a walk that enters each value once, with a stack of its own: hostile nesting is deep.
void check_nesting(const std::vector<PickleValue>& values, PickleId root, const std::string& where) {
  constexpr uint8_t kUnseen = 0, kOpen = 255;
  std::vector<uint8_t> height(values.size(), kUnseen);
  std::vector<std::pair<PickleId, size_t>> path{{root, 0}};
  height[root] = kOpen;
  while (!path.empty()) {
    auto& [id, next] = path.back();
    const auto& items = values[id].items;
    if (next < items.size()) {
      const PickleId child = items[next++];
      require(height[child] != kOpen, "{}: holds a value that holds itself", where);
      if (height[child] == kUnseen) {
        height[child] = kOpen;
        path.emplace_back(child, 0);
      }
      continue;
    }
    uint8_t highest = 0;
    for (const PickleId child : items) highest = std::max(highest, height[child]);
    require(highest < kDeepestPickle, "{}: values nested more than {} levels deep", where, kDeepestPickle);
    height[id] = uint8_t(highest + 1);
    path.pop_back();
  }
}

}  // namespace

std::string describe(const PickleValue& value) {
  using Kind = PickleValue::Kind;
  switch (value.kind) {
    case Kind::None:
      return "None";
    case Kind::Bool:
      return "a boolean";
    case Kind::Int:
      return "an integer";
    case Kind::Float:
      return "a float";
    case Kind::Text:
      return "a text";
    case Kind::Tuple:
      return "a tuple";
    case Kind::List:
      return "a list";
    case Kind::Dict:
      return "a dict";
    case Kind::Global:
      return printable(value.text);
    case Kind::Call:
      return "a tensor";
    case Kind::Persistent:
      return "a storage";
  }
  return "a value";
}

Pickle Pickle::parse(std::span<const std::byte> bytes, const std::string& where) {
  Pickle pickle;
  pickle.root_ = run_pickle(bytes, where, pickle.values_);
  check_nesting(pickle.values_, pickle.root_, where);
  return pickle;
}

}  // namespace yopo
