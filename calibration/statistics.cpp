#include "calibration/statistics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "core/dtype.h"
#include "core/error.h"
#include "core/version.h"
#include "formats/hdf5.h"

namespace yopo {

namespace {

constexpr std::string_view file_format = "yopo-statistics";
constexpr std::string_view file_version = "1";

// "-12", "0", "7": an integer as JSON writes it, so that the text alone tells numbers from names.
bool is_integer(std::string_view id) {
  if (id.starts_with('-')) id.remove_prefix(1);
  if (id.empty() || (id.size() > 1 && id.front() == '0')) return false;
  return std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool integer_less(std::string_view a, std::string_view b) {
  const bool negative = a.starts_with('-');
  if (negative != b.starts_with('-')) return negative;
  if (negative) return integer_less(b.substr(1), a.substr(1));
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

Hdf5Array array_of(std::vector<int64_t> shape, const std::vector<double>& values) { return {std::move(shape), values}; }

// The values of one dataset after its kind, shape and numbers are checked.
template <typename T>
std::vector<T> take(Hdf5File& file, const fs::path& path, const std::string& name, const std::vector<int64_t>& shape) {
  const auto found = file.datasets.find(name);
  require(found != file.datasets.end(), "{}: no dataset '{}'; is this a statistics file?", path.string(), name);
  Hdf5Array& array = found->second;
  auto* values = std::get_if<std::vector<T>>(&array.values);
  require(values != nullptr, "{}: dataset '{}' holds another kind of values", path.string(), name);
  require(array.shape == shape, "{}: dataset '{}' has shape {}, the others want {}", path.string(), name,
          shape_string(array.shape), shape_string(shape));
  require(int64_t(values->size()) == element_count(shape, name), "{}: dataset '{}' has {} values for shape {}",
          path.string(), name, values->size(), shape_string(shape));
  if constexpr (!std::is_same_v<T, std::string>)
    for (size_t i = 0; i < values->size(); ++i)
      require(double((*values)[i]) >= 0 && std::isfinite(double((*values)[i])),
              "{}: dataset '{}' holds {} at {}: expected a finite number of at least 0", path.string(), name,
              (*values)[i], i);
  return std::move(*values);
}

const std::vector<int64_t>& shape_of(const Hdf5File& file, const fs::path& path, const std::string& name, size_t rank) {
  const auto found = file.datasets.find(name);
  require(found != file.datasets.end(), "{}: no dataset '{}'; is this a statistics file?", path.string(), name);
  require(found->second.shape.size() == rank, "{}: dataset '{}' has shape {}, expected {} dimensions", path.string(),
          name, shape_string(found->second.shape), rank);
  return found->second.shape;
}

std::string attribute(const Hdf5File& file, const fs::path& path, const std::string& name) {
  const auto found = file.attributes.find(name);
  require(found != file.attributes.end(), "{}: no attribute '{}'; is this a statistics file?", path.string(), name);
  return found->second;
}

// Whether `a` stands before `b`: by id, and those of one id by their order in the question file.
bool sample_less(const Statistics& a, size_t i, const Statistics& b, size_t j) {
  return a.ids[i] == b.ids[j] ? a.repeat(i) < b.repeat(j) : id_less(a.ids[i], b.ids[j]);
}

std::string sample_name(const Statistics& s, size_t i) {
  return s.repeat(i) == 1 ? fmt::format("'{}'", printable(s.ids[i]))
                          : fmt::format("'{}' (number {} of its id)", printable(s.ids[i]), s.repeat(i));
}

// "1,3/3" of the parts 1 and 3 of 3.
std::string parts_text(const Statistics& s) {
  return s.held.empty() ? "all" : fmt::format("{}/{}", fmt::join(s.held, ","), s.parts);
}

void read_parts(const std::string& text, const std::string& where, Statistics& s) {
  const size_t slash = text.find('/');
  const auto number = [&](std::string_view digits) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    require(error == std::errc() && end == digits.data() + digits.size() && value >= 1,
            "{}: expected part numbers such as 1,3/4, found '{}'", where, printable(text));
    return value;
  };
  s.parts = number(slash == std::string::npos ? "" : std::string_view(text).substr(slash + 1));
  for (size_t at = 0; at <= slash;) {
    const size_t end = std::min(text.find(',', at), slash);
    s.held.push_back(number(std::string_view(text).substr(at, end - at)));
    at = end + 1;
  }
  for (size_t i = 0; i < s.held.size(); ++i)
    require(s.held[i] <= s.parts && (i == 0 || s.held[i - 1] < s.held[i]),
            "{}: '{}': parts are not of 1 to {}, ascending", where, printable(text), s.parts);
}

void check_sizes(const Statistics& s) {
  const size_t heads = size_t(s.layers * s.heads), neurons = size_t(s.layers * s.intermediate_size);
  ensure(s.layers > 0 && s.heads > 0 && s.intermediate_size > 0 && !s.ids.empty(), "statistics of something");
  ensure(s.ratio.size() == s.ids.size() * heads && s.abs_sum.size() == neurons && s.square_sum.size() == neurons &&
             s.active.size() == neurons && s.column_norm.size() == neurons && s.rows.size() == size_t(s.layers),
         "statistics whose arrays fit each other");
  ensure(s.repeats.empty() || s.repeats.size() == s.ids.size(), "repeats of some samples only");
}

}  // namespace

bool id_less(std::string_view a, std::string_view b) {
  const bool number = is_integer(a);
  if (number != is_integer(b)) return number;
  return number ? integer_less(a, b) : a < b;
}

void Statistics::add_sample(const std::string& id, int64_t repeat) {
  if (repeats.empty() && repeat != 1) repeats.assign(ids.size(), 1);
  ids.push_back(id);
  if (!repeats.empty() || repeat != 1) repeats.push_back(repeat);
}

double on_grid(double value) { return std::ldexp(std::nearbyint(std::ldexp(value, 24)), -24); }

bool fits(const Statistics& statistics, const DecoderSpec& spec) {
  return statistics.layers == spec.num_hidden_layers && statistics.heads == spec.num_attention_heads &&
         statistics.intermediate_size == spec.intermediate_size;
}

void write_statistics(const fs::path& path, const Statistics& s, bool journal) {
  check_sizes(s);
  const int64_t samples = s.samples();
  Hdf5File file;
  file.attributes = {{"format", std::string(file_format)},         {"version", std::string(file_version)},
                     {"tool_version", std::string(tool_version)},  {"fingerprint", s.fingerprint},
                     {"queries", std::string(name_of(s.queries))}, {"state", journal ? "journal" : "complete"}};
  if (!s.held.empty()) file.attributes["part"] = parts_text(s);
  const std::vector<int64_t> neurons{s.layers, s.intermediate_size};
  file.datasets["/attention/ratio"] = array_of({samples, s.layers, s.heads}, s.ratio);
  file.datasets["/ffn/abs_sum"] = array_of(neurons, s.abs_sum);
  file.datasets["/ffn/square_sum"] = array_of(neurons, s.square_sum);
  file.datasets["/ffn/active"] = array_of(neurons, s.active);
  file.datasets["/ffn/column_norm"] = array_of(neurons, s.column_norm);
  file.datasets["/ffn/rows"] = {{s.layers}, s.rows};
  file.datasets["/samples/id"] = {{samples}, s.ids};
  if (!s.repeats.empty()) file.datasets["/samples/repeat"] = {{samples}, s.repeats};
  write_hdf5(path, file);
}

Statistics read_statistics(const fs::path& path, bool journal) {
  Hdf5File file = read_hdf5(path);
  const std::string format = attribute(file, path, "format"), version = attribute(file, path, "version");
  require(format == file_format, "{}: format '{}', expected '{}'", path.string(), format, file_format);
  require(version == file_version, "{}: version '{}' of the statistics format, this program reads '{}'", path.string(),
          version, file_version);
  const std::string state = attribute(file, path, "state");
  require(state == "complete" || state == "journal", "{}: state '{}', expected 'complete' or 'journal'", path.string(),
          state);
  require(journal || state == "complete",
          "{}: the journal of an unfinished calibration; run that calibration again to finish it", path.string());

  Statistics s;
  s.fingerprint = attribute(file, path, "fingerprint");
  s.queries = parse_queries(attribute(file, path, "queries"), path.string() + ": attribute 'queries'");
  if (file.attributes.contains("part")) read_parts(file.attributes.at("part"), path.string() + ": attribute 'part'", s);
  const std::vector<int64_t> ratio = shape_of(file, path, "/attention/ratio", 3);
  const std::vector<int64_t> neurons = shape_of(file, path, "/ffn/abs_sum", 2);
  s.layers = ratio[1];
  s.heads = ratio[2];
  s.intermediate_size = neurons[1];
  require(ratio[0] > 0 && s.layers > 0 && s.heads > 0 && s.intermediate_size > 0,
          "{}: no samples, layers, heads or neurons", path.string());
  const std::vector<int64_t> by_neuron{s.layers, s.intermediate_size};
  s.ratio = take<double>(file, path, "/attention/ratio", ratio);
  s.abs_sum = take<double>(file, path, "/ffn/abs_sum", by_neuron);
  s.square_sum = take<double>(file, path, "/ffn/square_sum", by_neuron);
  s.active = take<double>(file, path, "/ffn/active", by_neuron);
  s.column_norm = take<double>(file, path, "/ffn/column_norm", by_neuron);
  s.rows = take<int64_t>(file, path, "/ffn/rows", {s.layers});
  s.ids = take<std::string>(file, path, "/samples/id", {ratio[0]});
  if (file.datasets.contains("/samples/repeat")) s.repeats = take<int64_t>(file, path, "/samples/repeat", {ratio[0]});
  for (const int64_t repeat : s.repeats)
    require(repeat >= 1, "{}: dataset '/samples/repeat' holds {}: expected at least 1", path.string(), repeat);
  for (size_t i = 1; i < s.ids.size(); ++i)
    require(sample_less(s, i - 1, s, i), "{}: sample {} stands before {}: samples must ascend and never repeat",
            path.string(), sample_name(s, i - 1), sample_name(s, i));
  return s;
}

Statistics merge_statistics(const std::vector<Statistics>& parts) {
  require(!parts.empty(), "merge: no statistics files given");
  Statistics all = parts.front();
  std::vector<std::pair<const Statistics*, size_t>> rows;  // where each sample is
  for (const Statistics& part : parts) {
    check_sizes(part);
    require(part.fingerprint == all.fingerprint,
            "merge: the files are of different calibrations: '{}' and '{}'; only parts of the same one can be merged",
            all.fingerprint, part.fingerprint);
    require(part.layers == all.layers && part.heads == all.heads && part.intermediate_size == all.intermediate_size &&
                part.queries == all.queries,
            "merge: the files differ in size or queries: {} layers, {} heads, {} neurons, {} and {}, {}, {}, {}",
            all.layers, all.heads, all.intermediate_size, name_of(all.queries), part.layers, part.heads,
            part.intermediate_size, name_of(part.queries));
    require(part.column_norm == all.column_norm, "merge: the files hold norms of different weights");
    require(part.parts == all.parts, "merge: the files are parts of other divisions: {} and {}", parts_text(all),
            parts_text(part));
    for (size_t i = 0; i < part.ids.size(); ++i) rows.emplace_back(&part, i);
  }
  const auto less = [](const auto& a, const auto& b) { return sample_less(*a.first, a.second, *b.first, b.second); };
  std::stable_sort(rows.begin(), rows.end(), less);
  const size_t width = size_t(all.layers * all.heads);
  all.ids.clear();
  all.repeats.clear();
  all.ratio.clear();
  for (size_t row = 0; row < rows.size(); ++row) {
    const auto& [part, i] = rows[row];
    require(row == 0 || less(rows[row - 1], rows[row]), "merge: sample {} is in two of the files",
            sample_name(*part, i));
    all.add_sample(part->ids[i], part->repeat(i));
    all.ratio.insert(all.ratio.end(), part->ratio.begin() + std::ptrdiff_t(i * width),
                     part->ratio.begin() + std::ptrdiff_t((i + 1) * width));
  }
  const auto add = [](auto& to, const auto& from) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  };
  for (size_t p = 1; p < parts.size(); ++p) {
    add(all.abs_sum, parts[p].abs_sum);
    add(all.square_sum, parts[p].square_sum);
    add(all.active, parts[p].active);
    add(all.rows, parts[p].rows);
    all.held.insert(all.held.end(), parts[p].held.begin(), parts[p].held.end());
  }
  std::sort(all.held.begin(), all.held.end());
  if (int64_t(all.held.size()) == all.parts) all.parts = 1, all.held.clear();
  return all;
}

std::string missing_parts(const Statistics& statistics) {
  constexpr size_t kNamed = 10;
  if (statistics.held.empty()) return "";
  std::vector<std::string> missing;
  for (int64_t part = 1; part <= statistics.parts && missing.size() <= kNamed; ++part)
    if (!std::binary_search(statistics.held.begin(), statistics.held.end(), part))
      missing.push_back(missing.size() < kNamed ? fmt::format("{}/{}", part, statistics.parts) : "...");
  return fmt::format("{}", fmt::join(missing, ", "));
}

}  // namespace yopo
