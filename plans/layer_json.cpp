#include "plans/layer_json.h"

#include <algorithm>

#include "core/error.h"

namespace yopo {
namespace {

constexpr int64_t most_heads = 4096;
constexpr int64_t most_neurons = int64_t(1) << 20;

/// Whether a JSON value is an integer in [0, limit), however it was made (parsed text is unsigned, built values may not
/// be).
bool is_index(const Json& value, int64_t limit) {
  if (value.is_number_unsigned()) return value.get<uint64_t>() < uint64_t(limit);
  return value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() < limit;
}

}  // namespace

void check_known(const Json& object, const std::vector<std::string>& known, const std::string& where) {
  require(object.is_object(), "{}: expected an object, found {}", where, object.type_name());
  for (const auto& [key, value] : object.items())
    require(std::find(known.begin(), known.end(), key) != known.end(), "{}: unknown key '{}'{}", where, printable(key),
            did_you_mean(key, known));
}

Json window_to_json(const std::optional<Window>& window) {
  if (!window) return nullptr;
  Json json = Json::object();
  json["size"] = window->size;
  json["causal"] = window->causal;
  return json;
}

std::optional<Window> window_from_json(const Json& parent, const std::string& where) {
  if (!has(parent, "window")) return std::nullopt;
  const std::string place = where + ": window";
  const Json& object = get_object(parent, "window", where);
  check_known(object, {"size", "causal"}, place);
  Window window{.size = get_int(object, "size", place, 1, kLargestWindow),
                .causal = get_bool_or(object, "causal", place, false)};
  require(window.size % 2 == 1, "{}: size {} is even; a window reaches equally far both ways and its size is odd",
          place, window.size);
  return window;
}

HeadFlags flags_from_json(const Json& row, const std::string& place) {
  require(row.is_array(), "{}: expected an array of 0 and 1, found {}", place, row.type_name());
  require(int64_t(row.size()) <= most_heads, "{}: {} heads, at most {} are read", place, row.size(), most_heads);
  HeadFlags flags;
  for (size_t head = 0; head < row.size(); ++head) {
    const Json& value = row[head];
    require(value.is_boolean() || is_index(value, 2), "{}, head {}: expected 0 or 1, found {}", place, head,
            printable(value.dump()));
    flags.push_back(value.is_boolean() ? uint8_t(value.get<bool>()) : uint8_t(value.get<int64_t>()));
  }
  return flags;
}

Json flags_to_json(const HeadFlags& flags) {
  Json row = Json::array();
  for (uint8_t flag : flags) row.push_back(int(flag));
  return row;
}

std::optional<Neurons> neurons_from_json(const Json& row, const std::string& place) {
  if (row.is_null()) return std::nullopt;
  require(row.is_array(), "{}: expected null or an array of neuron indices, found {}", place, row.type_name());
  require(int64_t(row.size()) <= most_neurons, "{}: {} neurons, at most {} are read", place, row.size(), most_neurons);
  Neurons set;
  for (const Json& value : row) {
    require(is_index(value, most_neurons), "{}: expected a neuron index in [0, {}), found {}", place, most_neurons,
            printable(value.dump()));
    const int64_t neuron = value.get<int64_t>();
    require(set.empty() || set.back() < neuron, "{}: neuron {} after {}; indices must ascend", place, neuron,
            set.empty() ? 0 : set.back());
    set.push_back(neuron);
  }
  return set;
}

}  // namespace yopo
