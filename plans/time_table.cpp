#include "plans/time_table.h"

#include <algorithm>

#include "core/error.h"
#include "plans/layer_json.h"

namespace yopo {
namespace {

constexpr int64_t version = 1;
constexpr int64_t most_points = 256;
constexpr int64_t most_size = int64_t(1) << 40;

/// Where x lies on an ascending axis: the index of the point below and the share of the way to the next one.
std::pair<size_t, double> between(const std::vector<int64_t>& axis, int64_t x) {
  if (x >= axis.back()) return {axis.size() - 1, 0};
  const size_t above = size_t(std::upper_bound(axis.begin(), axis.end(), x) - axis.begin());
  if (above == 0) return {0, 0};
  return {above - 1, double(x - axis[above - 1]) / double(axis[above] - axis[above - 1])};
}

/// What lies outside the axis is proportional to it.
double beyond(const std::vector<int64_t>& axis, int64_t x) {
  if (x > axis.back()) return double(x) / double(axis.back());
  if (x < axis.front()) return double(x) / double(axis.front());
  return 1;
}

double window_ns(const TimeTable& table, int64_t size) {
  const auto& known = table.window_ns;
  const auto above = std::find_if(known.begin(), known.end(), [&](const auto& one) { return one.first >= size; });
  if (above == known.end()) {
    const double side = double(size) / double(known.back().first);
    return known.back().second * side * side;
  }
  if (above == known.begin()) return above->second;
  const auto below = above - 1;
  return below->second +
         (above->second - below->second) * double(size - below->first) / double(above->first - below->first);
}

std::vector<int64_t> axis_of(const Json& parent, const char* key, const std::string& where) {
  const Json& array = get_array(parent, key, where);
  require(!array.empty() && int64_t(array.size()) <= most_points, "{}: {}: expected 1 to {} numbers, found {}", where,
          key, most_points, array.size());
  std::vector<int64_t> axis;
  for (const Json& value : array) {
    require(value.is_number_integer() && value.get<double>() >= 1 && value.get<double>() <= double(most_size),
            "{}: {}: expected a whole number of at least 1, found {}", where, key, printable(value.dump()));
    axis.push_back(value.get<int64_t>());
    require(axis.size() == 1 || axis[axis.size() - 2]<axis.back(), "{}: {}: {} does not come after {}", where, key,
                                                      axis.back(), axis.size()> 1
                ? axis[axis.size() - 2]
                : 0);
  }
  return axis;
}

double time_of(const Json& value, const std::string& where) {
  require(value.is_number() && value.get<double>() >= 0 && value.get<double>() < 1e12,
          "{}: expected a time of at least 0, found {}", where, printable(value.dump()));
  return value.get<double>();
}

double time_at(const Json& parent, const char* key, const std::string& where) {
  require(has(parent, key), "{}: '{}' is missing", where, key);
  return time_of(parent.at(key), fmt::format("{}: {}", where, key));
}

ProductTimes products_of(const Json& parent, const char* key, const std::string& where) {
  const Json& object = get_object(parent, key, where);
  const std::string place = fmt::format("{}: {}", where, key);
  check_known(object, {"rows", "widths", "ms"}, place);
  ProductTimes times{axis_of(object, "rows", place), axis_of(object, "widths", place), {}};
  const Json& rows = get_array(object, "ms", place);
  require(rows.size() == times.rows.size(), "{}: ms: {} rows, expected {}", place, rows.size(), times.rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    require(rows[r].is_array() && rows[r].size() == times.widths.size(), "{}: ms: row {}: expected {} times", place, r,
            times.widths.size());
    for (const Json& value : rows[r]) times.ms.push_back(time_of(value, fmt::format("{}: ms: row {}", place, r)));
  }
  return times;
}

Json products_to_json(const ProductTimes& times) {
  Json json = Json::object();
  json["rows"] = times.rows, json["widths"] = times.widths, json["ms"] = Json::array();
  for (size_t r = 0; r < times.rows.size(); ++r) {
    const auto first = times.ms.begin() + std::ptrdiff_t(r * times.widths.size());
    json["ms"].push_back(std::vector<double>(first, first + std::ptrdiff_t(times.widths.size())));
  }
  return json;
}

}  // namespace

double ProductTimes::at(int64_t count, int64_t width) const {
  if (count <= 0 || width <= 0) return 0;
  const auto [r, r_share] = between(rows, count);
  const auto [w, w_share] = between(widths, width);
  const auto one = [&](size_t i, size_t j) {
    return ms[std::min(i, rows.size() - 1) * widths.size() + std::min(j, widths.size() - 1)];
  };
  const double low = one(r, w) * (1 - w_share) + one(r, w + 1) * w_share;
  const double high = one(r + 1, w) * (1 - w_share) + one(r + 1, w + 1) * w_share;
  return (low * (1 - r_share) + high * r_share) * beyond(rows, count) * beyond(widths, width);
}

double layer_ms(const TimeTable& table, const LayerPlan& layer, const PromptShape& prompt) {
  DecoderSpec spec;
  spec.num_attention_heads = table.heads, spec.num_key_value_heads = table.kv_heads, spec.head_dim = table.head_dim;
  spec.hidden_size = table.hidden_size, spec.intermediate_size = table.intermediate_size;
  const LayerCounts counts = layer_counts(layer, spec);
  int64_t visual = 0;
  for (const Span& span : prompt.spans) visual += span.count();
  const int64_t text = prompt.length - visual, dim = table.head_dim;
  // As the decoder issues them: a prefix of each weight over all rows, the rest over text rows alone.
  const auto into = [&](int64_t width, int64_t whole) {
    return table.into.at(visual + text, width) + table.into.at(text, whole - width);
  };
  const auto out_of = [&](int64_t width, int64_t whole) {
    return table.out_of.at(visual + text, width) + table.out_of.at(text, whole - width);
  };
  double ms = into(counts.updates * dim, table.heads * dim) + 2 * into(counts.kv_heads * dim, table.kv_heads * dim) +
              out_of(counts.updates * dim, table.heads * dim) + 2 * into(counts.neurons, table.intermediate_size) +
              out_of(counts.neurons, table.intermediate_size) + table.into.at(visual, counts.rank) +
              table.out_of.at(visual, counts.rank);
  ms += 1e-6 * table.gated_ns *
        double((visual + text) * counts.neurons + text * (table.intermediate_size - counts.neurons));
  const PairCounts pairs = count_pairs(prompt, layer.window);
  double read = double(table.heads) * double(pairs.text_text) + double(counts.heads) * double(pairs.text_visual) +
                double(counts.updates) * double(pairs.visual_text);
  if (layer.window)
    ms += 1e-6 * window_ns(table, layer.window->size) * double(counts.updates) * double(visual);
  else
    read += double(counts.updates) * double(pairs.visual_visual);
  return ms + 1e-6 * table.pair_ns * read + 1e-3 * table.row_us * double(layer.alive ? visual + text : text);
}

double prefill_ms(const TimeTable& table, const Plan& plan, const PromptShape& prompt) {
  double ms = table.fixed_ms;
  for (const LayerPlan& layer : plan.layers) ms += layer_ms(table, layer, prompt);
  return ms;
}

Json time_table_to_json(const TimeTable& table) {
  Json json = Json::object();
  json["yopo_times"] = version;
  json["machine"] = table.machine, json["device"] = table.device, json["dtype"] = table.dtype;
  json["threads"] = table.threads;
  json["model"] = Json{{"hidden_size", table.hidden_size},
                       {"intermediate_size", table.intermediate_size},
                       {"heads", table.heads},
                       {"kv_heads", table.kv_heads},
                       {"head_dim", table.head_dim},
                       {"vocab_size", table.vocab_size}};
  json["into"] = products_to_json(table.into);
  json["out_of"] = products_to_json(table.out_of);
  json["gated_ns"] = table.gated_ns;
  json["pair_ns"] = table.pair_ns;
  json["windows"] = Json::array();
  for (const auto& [size, ns] : table.window_ns) json["windows"].push_back(Json{{"size", size}, {"row_ns", ns}});
  json["row_us"] = table.row_us;
  json["fixed_ms"] = table.fixed_ms;
  return json;
}

TimeTable read_time_table(const fs::path& file) {
  const std::string where = file.string();
  const Json json = read_json(file);
  require(json.is_object() && has(json, "yopo_times"), "{}: no table of times: `yopo bench --table FILE` writes one",
          where);
  require(get_int(json, "yopo_times", where, 0, most_size) == version,
          "{}: a table of another version; measure it again with `yopo bench --table`", where);
  check_known(json,
              {"yopo_times", "machine", "device", "dtype", "threads", "model", "into", "out_of", "gated_ns", "pair_ns",
               "windows", "row_us", "fixed_ms"},
              where);
  TimeTable table;
  table.machine = get_string(json, "machine", where), table.device = get_string(json, "device", where);
  table.dtype = get_string(json, "dtype", where);
  table.threads = get_int(json, "threads", where, 1, 1 << 20);
  const Json& model = get_object(json, "model", where);
  const std::string place = where + ": model";
  check_known(model, {"hidden_size", "intermediate_size", "heads", "kv_heads", "head_dim", "vocab_size"}, place);
  const auto size = [&](const char* key) { return get_int(model, key, place, 1, most_size); };
  table.hidden_size = size("hidden_size"), table.intermediate_size = size("intermediate_size");
  table.heads = size("heads"), table.kv_heads = size("kv_heads"), table.head_dim = size("head_dim");
  table.vocab_size = size("vocab_size");
  table.into = products_of(json, "into", where), table.out_of = products_of(json, "out_of", where);
  table.gated_ns = time_at(json, "gated_ns", where), table.pair_ns = time_at(json, "pair_ns", where);
  const Json& windows = get_array(json, "windows", where);
  require(!windows.empty(), "{}: windows: none", where);
  for (const Json& window : windows) {
    check_known(window, {"size", "row_ns"}, where + ": windows");
    const int64_t side = get_int(window, "size", where + ": windows", 1, kLargestWindow);
    require(table.window_ns.empty() || table.window_ns.back().first < side, "{}: windows: sizes should rise", where);
    table.window_ns.emplace_back(side, time_at(window, "row_ns", where + ": windows"));
  }
  table.row_us = time_at(json, "row_us", where), table.fixed_ms = time_at(json, "fixed_ms", where);
  return table;
}

void check_time_table(const TimeTable& table, const DecoderSpec& spec, const std::string& device,
                      const std::string& dtype, const std::string& file) {
  const auto same = [&](const char* what, const auto& measured, const auto& here) {
    require(measured == here, "{}: measured for {} {}, and here it is {}; measure it again with `yopo bench --table`",
            file, what, measured, here);
  };
  same("device", printable(table.device), device);
  same("dtype", printable(table.dtype), dtype);
  same("hidden_size", table.hidden_size, spec.hidden_size);
  same("intermediate_size", table.intermediate_size, spec.intermediate_size);
  same("attention heads", table.heads, spec.num_attention_heads);
  same("KV heads", table.kv_heads, spec.num_key_value_heads);
  same("head_dim", table.head_dim, spec.head_dim);
  same("vocab_size", table.vocab_size, spec.vocab_size);
}

}  // namespace yopo
