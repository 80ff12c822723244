// The list of benchmarks.
#pragma once

#include <memory>
#include <vector>

namespace yopo {

struct Benchmark;

/// All of them; the first is the default.
const std::vector<const Benchmark*>& benchmarks();

/// Adds a benchmark of a program's own, for as long as what it returns lives. The record stays where it is, has a name
/// that no other has, and what every record needs. Not while another thread uses benchmarks.
[[nodiscard]] std::shared_ptr<const void> register_benchmark(const Benchmark& benchmark);

}  // namespace yopo
