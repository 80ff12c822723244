// What the readers of the benchmarks share: question files, annotation lists, image folders, ids.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/json.h"
#include "datasets/sample.h"

namespace yopo {

/// What LLaVA appends to a question: short answers, and letters of multiple-choice questions.
inline constexpr std::string_view kShortAnswer = "\nAnswer the question using a single word or phrase.";
inline constexpr std::string_view kOptionLetter = "\nAnswer with the option's letter from the given choices directly.";

/// How a benchmark is asked and judged. The defaults are those of LLaVA's own evaluation.
struct Protocol {
  std::string name = "llava";
  std::string about;                        // for the help of --protocol; "": the name says it
  int64_t max_new_tokens = 128;             // of an answer
  std::string_view request = kShortAnswer;  // behind a question, where the question file leaves it out
  bool reworded = false;                    // asked in the protocol's own words, not in those of the question file
  std::string rule;                         // that turns answers into letters; "": the benchmark's first, or none
};

/// Where a benchmark's files are and how it is to be asked.
struct BenchmarkSource {
  DatasetOptions dataset;  // annotations: a file, a folder, or several separated by commas
  Protocol protocol;
  bool images_needed = true;  // false: ready answers are scored, and there may be no images folder
};

/// The files and folders of `annotations`. UserError if `need` says what is missing and there are none.
std::vector<fs::path> annotation_paths(const BenchmarkSource& source, std::string_view need);
/// The same with every folder replaced by its files that start and end so, sorted by name.
std::vector<fs::path> annotation_files(const BenchmarkSource& source, std::string_view need, std::string_view start,
                                       std::string_view end);

/// Notes that a file annotates so many questions besides those asked; nothing for 0.
void note_others(const fs::path& annotations, int64_t count, const fs::path& questions);

/// An id as text: an integer or a non-empty text under `key`; 7 and "7" are the same id.
std::string id_of(const Json& record, std::string_view key, const std::string& where, bool* integer = nullptr);

/// Adds images of the folder to samples: UserError unless each lies in it. Without a folder: UserError if images are
/// needed, else nothing.
class ImageFolder {
 public:
  explicit ImageFolder(const BenchmarkSource& source);
  /// The first of these names that is there; the first in the message when none is.
  void add(Sample& sample, const std::vector<std::string>& names);

 private:
  fs::path folder_;
  bool needed_;
  std::unordered_set<std::string> found_;
};

/// Samples by id; UserError naming both places when an id comes again.
class IdIndex {
 public:
  void add(const std::string& id, const std::string& where);
  bool contains(const std::string& id) const { return places_.contains(id); }

 private:
  std::unordered_map<std::string, std::string> places_;
};

/// LLaVA's question file: JSON lines {question_id, image, text, category}. UserError for a missing field, and for a
/// repeated id unless ids may repeat.
std::vector<Sample> read_question_lines(const BenchmarkSource& source, ImageFolder& images,
                                        bool ids_may_repeat = false);

/// The value of a sample's annotation among `known` values; UserError naming `where` otherwise.
void check_label(const std::string& label, const std::vector<std::string>& known, std::string_view what,
                 const std::string& where);

}  // namespace yopo
