// MME: a folder of categories in either layout, with LLaVA's question file or without.
#pragma once

#include "evaluation/benchmarks/files.h"

namespace yopo {

inline constexpr size_t kMmePerception = 10;  // the first ten of the categories; the other four are cognition
const std::vector<std::string>& mme_categories();

struct MmeQuestion {
  std::string category;
  bool yes = false;  // the label
  int64_t pair = 0;  // two questions of an image; numbered through all categories
};

struct Mme {
  std::vector<Sample> samples;            // key: category, image and question; answers: the label as written
  std::vector<MmeQuestion> questions;     // of the samples
  std::unordered_set<std::string> truth;  // every key of the folder
};

/// What an answer's question is known by; "" when the folder has no such question: of question_id
/// "artwork/images/14777.jpg" the category and the name up to its first dot; of the prompt the folder's question:
/// without the request for a short answer, and with "Please answer yes or no." behind one space, then two.
std::string find_mme_key(const Mme& data, const std::string& question_id, const std::string& prompt);
/// The same; UserError naming `where` when the folder has no such question.
std::string mme_key(const Mme& data, const std::string& question_id, const std::string& prompt,
                    const std::string& where);

/// images (or annotations): the folder. A category holds *.png or *.jpg beside *.txt, or images/ and
/// questions_answers_YN/; a txt has the two questions of an image as "question\tYes". questions, optional: LLaVA's JSON
/// lines, whose order and wording count then; it may ask a part of the folder, with a note. Pairs are consecutive
/// questions of a category. Protocol lmms asks as lmms-eval does: one space before "Please answer yes or no." goes with
/// it, a second one stays. UserError naming file and line for a question without its image or label, other than two
/// questions in a txt, and a label but Yes and No.
Mme read_mme(const BenchmarkSource& source);

}  // namespace yopo
