#include "evaluation/benchmarks/benchmark.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "evaluation/benchmarks/registry.h"

namespace yopo {

std::vector<std::string> benchmark_names() {
  std::vector<std::string> names;
  for (const Benchmark* one : benchmarks()) names.push_back(one->name);
  return names;
}

const std::string& default_benchmark() { return benchmarks().front()->name; }

const Benchmark& benchmark_named(const std::string& name) {
  for (const Benchmark* one : benchmarks())
    if (one->name == name) return *one;
  const std::vector<std::string> names = benchmark_names();
  fail("benchmark: expected one of {}, found '{}'{}", fmt::join(names, ", "), printable(name),
       did_you_mean(name, names));
}

std::vector<std::string> protocol_names(const Benchmark& benchmark) {
  std::vector<std::string> names;
  for (const Protocol& one : benchmark.protocols) names.push_back(one.name);
  return names;
}

bool has_questions(const Benchmark& benchmark, const DatasetOptions& dataset) {
  const bool folder = benchmark.folder_of_questions && !(dataset.images.empty() && dataset.annotations.empty());
  return !dataset.questions.empty() || folder;
}

Json value_json(double value) { return std::isnan(value) ? Json() : Json(value); }

bool in_table(const Benchmark& benchmark, const std::string& category) {
  return std::none_of(benchmark.table_leaves_out.begin(), benchmark.table_leaves_out.end(),
                      [&](const std::string& end) { return category.ends_with(end); });
}

}  // namespace yopo
