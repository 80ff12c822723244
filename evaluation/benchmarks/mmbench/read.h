// MMBench: one TSV with questions, options and images.
#pragma once

#include "evaluation/benchmarks/files.h"

namespace yopo {

/// Rows whose index agrees modulo this are rotations of one question; the row below it is the main one.
inline constexpr int64_t kMmbenchRotation = 1'000'000;

struct MmbenchQuestion {
  int64_t index = 0;
  char answer = 0;      // a letter; 0 in the test split
  std::string letters;  // of the options asked
  std::vector<std::pair<char, std::string>>
      choices;                        // the option columns that are no missing value to pandas, or right
  std::string category, l2_category;  // "": missing
  bool scored = true;                 // false: the group's main row is absent
};

struct Mmbench {
  std::vector<Sample> samples;             // id: the index; answers: the letter; encoded: the image
  std::vector<MmbenchQuestion> questions;  // of the samples
  bool annotated = false;
};

/// questions: TSV with columns index, question, image and A, and B-D, hint, answer, category, l2-category where there
/// are any. An option or hint is missing when pandas or LLaVA takes it so; options stop at the first missing one (with
/// a warning where the right one is then not asked). An image column that holds an index stands for that row's image.
/// Protocol plain asks without the request for a letter, for models that answer with one unasked. UserError naming file
/// and line for a damaged table, an image that is none, a repeated index, an answer that is no option's letter.
Mmbench read_mmbench(const BenchmarkSource& source);

}  // namespace yopo
