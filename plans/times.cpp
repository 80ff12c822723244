#include "plans/times.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace yopo {
namespace {

constexpr const char* kFormat = "yopo times";
constexpr size_t kMostPoints = 4096;

/// Where `value` lies among `points`: the index of the lower neighbour and the part of the way to the next.
std::pair<size_t, double> between(const std::vector<int64_t>& points, double value) {
  const size_t above = size_t(std::upper_bound(points.begin(), points.end(), value) - points.begin());
  if (above == 0 || above == points.size()) return {above == 0 ? 0 : points.size() - 1, 0.0};
  const double low = double(points[above - 1]), high = double(points[above]);
  return {above - 1, (value - low) / (high - low)};
}

/// How much more than the last point.
double beyond(const std::vector<int64_t>& points, double value) { return std::max(1.0, value / double(points.back())); }

struct Number {
  const char* key;
  double TimeTable::*field;
};
constexpr Number kNumbers[] = {{"norm", &TimeTable::norm},
                               {"rope", &TimeTable::rope},
                               {"store", &TimeTable::store},
                               {"gated", &TimeTable::gated},
                               {"text_pair", &TimeTable::text_pair},
                               {"visual_pair", &TimeTable::visual_pair},
                               {"window_query", &TimeTable::window_query},
                               {"window_pair", &TimeTable::window_pair},
                               {"layer_scale", &TimeTable::layer_scale},
                               {"fixed", &TimeTable::fixed}};
struct Size {
  const char* key;
  int64_t TimeTable::*field;
};
constexpr Size kSizes[] = {{"hidden_size", &TimeTable::hidden_size},
                           {"num_attention_heads", &TimeTable::num_attention_heads},
                           {"num_key_value_heads", &TimeTable::num_key_value_heads},
                           {"head_dim", &TimeTable::head_dim},
                           {"intermediate_size", &TimeTable::intermediate_size}};

double time_of(const Json& value, const std::string& where) {
  require(value.is_number(), "{}: expected a number, found {}", where, printable(value.dump()));
  const double number = value.get<double>();
  require(std::isfinite(number) && number >= 0, "{}: expected a time of 0 or more, found {}", where, number);
  return number;
}

std::vector<int64_t> points_of(const Json& object, const char* key, const std::string& where) {
  std::vector<int64_t> points;
  for (const Json& value : get_array(object, key, where)) {
    require(value.is_number_integer() && value.get<int64_t>() > (points.empty() ? 0 : points.back()),
            "{}: {}: expected ascending numbers of 1 or more, found {}", where, key, printable(value.dump()));
    points.push_back(value.get<int64_t>());
  }
  require(!points.empty() && points.size() <= kMostPoints, "{}: {}: expected 1 to {} numbers, found {}", where, key,
          kMostPoints, points.size());
  return points;
}

std::vector<double> times_of(const Json& object, const char* key, size_t rows, size_t widths,
                             const std::string& where) {
  const Json& lines = get_array(object, key, where);
  require(lines.size() == rows, "{}: {}: expected {} lines, one for each of \"rows\", found {}", where, key, rows,
          lines.size());
  std::vector<double> times;
  for (size_t r = 0; r < rows; ++r) {
    require(lines[r].is_array() && lines[r].size() == widths,
            "{}: {}[{}]: expected {} times, one for each of \"widths\", found {}", where, key, r, widths,
            lines[r].is_array() ? fmt::format("{}", lines[r].size()) : printable(lines[r].dump()));
    for (size_t w = 0; w < widths; ++w)
      times.push_back(time_of(lines[r][w], fmt::format("{}: {}[{}][{}]", where, key, r, w)));
  }
  return times;
}

}  // namespace

double product_time(const TimeTable& table, const std::vector<double>& times, double rows, double width) {
  if (rows <= 0 || width <= 0) return 0;
  const auto [row, row_part] = between(table.rows, rows);
  const auto [column, column_part] = between(table.widths, width);
  const size_t columns = table.widths.size();
  const auto at = [&](size_t r, size_t c) {
    return times[std::min(r, table.rows.size() - 1) * columns + std::min(c, columns - 1)];
  };
  const double here = at(row, column) * (1 - column_part) + at(row, column + 1) * column_part;
  const double next = at(row + 1, column) * (1 - column_part) + at(row + 1, column + 1) * column_part;
  return (here * (1 - row_part) + next * row_part) * beyond(table.rows, rows) * beyond(table.widths, width);
}

double layer_time(const TimeTable& table, const LayerPlan& layer, const DecoderSpec& spec, const PromptShape& prompt) {
  const LayerCounts counts = layer_counts(layer, spec);
  const PairCounts pairs = count_pairs(prompt, layer.window);
  const double visual = layer.alive ? double(visual_tokens(prompt)) : 0;
  const double text = double(prompt.length - visual_tokens(prompt)), all = visual + text;
  const double heads = double(spec.num_attention_heads), kv_heads = double(spec.num_key_value_heads);
  const double width = double(spec.head_dim), neurons = double(spec.intermediate_size);
  // Without visual rows nothing is told apart.
  const bool apart = visual > 0;
  const double updated = apart ? double(counts.updates) : 0, stored = apart ? double(counts.kv_heads) : 0;
  const double used = apart ? double(counts.neurons) : 0;
  const auto out = [&](double rows, double columns) { return product_time(table, table.out, rows, columns); };
  const auto in = [&](double rows, double columns) { return product_time(table, table.in, rows, columns); };

  double time = table.norm * (stored > 0 ? all : text);
  time += out(all, updated * width) + out(text, (heads - updated) * width);
  time += 2 * (out(all, stored * width) + out(text, (kv_heads - stored) * width));
  time += table.rope * (visual * updated + text * heads) + table.store * (visual * stored + text * kv_heads);
  time += table.text_pair *
          (heads * double(pairs.text_text) + (apart ? double(counts.heads) * double(pairs.text_visual) : 0));
  const double visual_pairs = updated * double(pairs.visual_text + pairs.visual_visual);
  time += layer.window ? table.window_query * visual * updated + table.window_pair * visual_pairs
                       : table.visual_pair * visual_pairs;
  time += in(all, updated * width) + in(text, (heads - updated) * width);

  const bool compensated = apart && layer.compensation != nullptr;
  time += table.norm * (used > 0 || compensated ? all : text);
  time += 2 * (out(all, used) + out(text, neurons - used));
  time += table.gated * (all * used + text * (neurons - used));
  time += in(all, used) + in(text, neurons - used);
  if (compensated) time += out(visual, double(counts.rank)) + in(visual, double(counts.rank)) + table.norm * visual;
  return table.layer_scale * time;
}

double prefill_time(const TimeTable& table, const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt) {
  double time = table.fixed;
  for (const LayerPlan& layer : plan.layers) time += layer_time(table, layer, spec, prompt);
  return time;
}

TimeTable read_times(const fs::path& path) {
  const std::string where = path.string();
  const Json json = read_json(path);
  require(json.is_object() && json.value("format", Json()) == kFormat,
          "{}: expected a table of times (\"format\": \"{}\"), as yopo bench --table writes it", where, kFormat);
  std::vector<std::string> known{"format", "version", "device", "cpu", "dtype", "threads",
                                 "model",  "rows",    "widths", "out", "in"};
  for (const Number& number : kNumbers) known.push_back(number.key);
  for (const auto& [key, value] : json.items())
    require(std::find(known.begin(), known.end(), key) != known.end(), "{}: unknown key '{}'{}", where, printable(key),
            did_you_mean(key, known));
  get_int(json, "version", where, 1, 1);
  TimeTable table;
  table.device = get_string(json, "device", where);
  table.cpu = get_string(json, "cpu", where);
  table.dtype = get_string(json, "dtype", where);
  table.threads = get_int(json, "threads", where, 0, 1 << 20);
  const Json& model = get_object(json, "model", where);
  for (const Size& size : kSizes) table.*size.field = get_int(model, size.key, where + ": model", 1, int64_t(1) << 32);
  require(model.size() == std::size(kSizes), "{}: model: expected {} keys, found {}", where, std::size(kSizes),
          model.size());
  table.rows = points_of(json, "rows", where), table.widths = points_of(json, "widths", where);
  table.out = times_of(json, "out", table.rows.size(), table.widths.size(), where);
  table.in = times_of(json, "in", table.rows.size(), table.widths.size(), where);
  for (const Number& number : kNumbers) {
    require(has(json, number.key), "{}: '{}' is missing", where, number.key);
    table.*number.field = time_of(json.at(number.key), fmt::format("{}: {}", where, number.key));
  }
  return table;
}

Json times_to_json(const TimeTable& table) {
  Json json{{"format", kFormat}, {"version", 1},         {"device", table.device},
            {"cpu", table.cpu},  {"dtype", table.dtype}, {"threads", table.threads}};
  for (const Size& size : kSizes) json["model"][size.key] = table.*size.field;
  json["rows"] = table.rows, json["widths"] = table.widths;
  const auto lines = [&](const std::vector<double>& times) {
    Json all = Json::array();
    for (size_t r = 0; r < table.rows.size(); ++r)
      all.push_back(std::vector<double>(times.begin() + std::ptrdiff_t(r * table.widths.size()),
                                        times.begin() + std::ptrdiff_t((r + 1) * table.widths.size())));
    return all;
  };
  json["out"] = lines(table.out), json["in"] = lines(table.in);
  for (const Number& number : kNumbers) json[number.key] = table.*number.field;
  return json;
}

void check_times(const TimeTable& table, const DecoderSpec& spec, const std::string& device, const std::string& dtype,
                 const std::string& where) {
  const TimeTable wanted = [&] {
    TimeTable sizes;
    sizes.hidden_size = spec.hidden_size, sizes.num_attention_heads = spec.num_attention_heads;
    sizes.num_key_value_heads = spec.num_key_value_heads, sizes.head_dim = spec.head_dim;
    sizes.intermediate_size = spec.intermediate_size;
    return sizes;
  }();
  for (const Size& size : kSizes)
    require(table.*size.field == wanted.*size.field, "{}: times of another model: {} {}, here {}", where, size.key,
            table.*size.field, wanted.*size.field);
  require(table.device == device && table.dtype == dtype, "{}: times of {} in {}; here it is {} in {}", where,
          printable(table.device), printable(table.dtype), device, dtype);
}

}  // namespace yopo
