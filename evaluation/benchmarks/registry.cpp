#include "evaluation/benchmarks/registry.h"

#include "core/error.h"
#include "evaluation/benchmarks/benchmark.h"

namespace yopo {

// Each in evaluation/benchmarks/NAME/benchmark.cpp.
const Benchmark& vqa_benchmark();
const Benchmark& vqav2_benchmark();
const Benchmark& gqa_benchmark();
const Benchmark& scienceqa_benchmark();
const Benchmark& textvqa_benchmark();
const Benchmark& pope_benchmark();
const Benchmark& mme_benchmark();
const Benchmark& mmbench_benchmark();

namespace {

std::vector<const Benchmark*>& list() {
  static std::vector<const Benchmark*> all = {
      &vqa_benchmark(),        // plain question files: the default
      &vqav2_benchmark(),      // open questions, ten annotators
      &gqa_benchmark(),        // open questions, one answer
      &scienceqa_benchmark(),  // letters
      &textvqa_benchmark(),    // open questions about text
      &pope_benchmark(),       // yes or no, in splits
      &mme_benchmark(),        // yes or no, in pairs and points
      &mmbench_benchmark(),    // letters, in rotations
  };
  return all;
}

}  // namespace

const std::vector<const Benchmark*>& benchmarks() { return list(); }

std::shared_ptr<const void> register_benchmark(const Benchmark& benchmark) {
  ensure(!benchmark.name.empty() && !benchmark.headline.empty() && !benchmark.protocols.empty() && benchmark.open,
         "a benchmark has a name, a headline, a protocol and a reader");
  for (const Benchmark* one : list()) ensure(one->name != benchmark.name, "two benchmarks of one name");
  list().push_back(&benchmark);
  return {&benchmark, [](const Benchmark* gone) { std::erase(list(), gone); }};
}

}  // namespace yopo
