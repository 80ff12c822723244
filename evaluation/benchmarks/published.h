// Published scores to compare with, and the models they are of.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace yopo {

struct PublishedScore {
  std::string model;    // "llava-1.5-7b"
  std::string source;   // "LLaVA-1.5" (its authors' table) or "YOPO, Table 2" (arXiv 2410.06169)
  std::string setting;  // "dense", "YOPO 25 %" or "YOPO 12 %"
  double score = 0;     // as published: percent, or points where the benchmark has them
};

/// A column of the two tables: of each model what LLaVA-1.5's authors give, then YOPO's dense, 25 % and 12 %.
std::vector<PublishedScore> published_scores(const std::array<double, 4>& of_7b, const std::array<double, 4>& of_13b);

/// A model of the tables by the sizes of its tower and decoder.
struct PublishedModel {
  std::string name;
  int64_t image_size, patch_size, tower_width, hidden_size, layers, kv_heads;
};
const std::vector<PublishedModel>& published_models();

}  // namespace yopo
