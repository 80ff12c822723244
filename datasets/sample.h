// Question files as samples: an id, an image or none, the user's text, and the expected answers where there are any.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "images/image.h"

namespace yopo {

struct DatasetOptions {
  std::string format = "llava";  // llava | conversations
  fs::path questions;            // .jsonl question file or .json conversation file
  fs::path images;               // folder the image names are in
  fs::path annotations;          // answers; default: answers.jsonl next to the questions if there
  int64_t samples = 0;           // how many to use; 0: all
};

struct Sample {
  std::string id;                     // question_id as text: a label, which several samples of a file may have
  int64_t repeat = 1;                 // which of the samples of this id it is, in the order of the file
  bool integer_id = false;            // it was a number in the file (written back as one)
  std::vector<fs::path> images;       // absolute or relative to the working directory; checked to lie inside the folder
  std::string text;                   // the user's turn, without <image>
  std::string category;               // "" if none
  std::vector<std::string> answers;   // expected; empty if unknown
  std::string where;                  // "questions.jsonl:12", for messages
  std::vector<EncodedImage> encoded;  // images inside a file, behind `images`
  std::string key;                    // tells questions of one question_id apart; "": the id does
  std::optional<std::string> prompt;  // as answers.jsonl stores it; absent: text
  std::vector<std::string> options;   // as asked, where answers.jsonl stores them (MMBench)
};

/// What a question's answer is kept under: one name a question of a benchmark.
inline const std::string& question_key(const Sample& sample) { return sample.key.empty() ? sample.id : sample.key; }

/// The key of the `count`-th (from 1) sample of one key.
std::string repeated_key(const std::string& key, int64_t count);

/// Format `llava`: JSON lines {question_id, image, text, category}; "question" may stand for "text". Answers are those
/// of `annotations`, joined by question_id (the lines of one id in the order of its questions), or of an answers.jsonl
/// next to the questions; both may hold answers to other questions, too; or of an "answer" / "answers" field. Where no
/// line has a question_id, questions are numbered from 0 and only such a field holds answers. Format `conversations`: a
/// JSON array of {id, image, conversations:
/// [{from: human|gpt, value}]}; the first human turn is the text, the first gpt turn the answer. UserError naming file
/// and line for: bad JSON, a missing field, ids in some lines only, an image outside the folder or absent, annotations
/// none of which is for a question, no samples. Without `images_needed` the folder may be left out: then the samples
/// have no images.
std::vector<Sample> read_samples(const DatasetOptions& options, bool images_needed = true);

/// The samples to calibrate on: all, or `count` of them chosen by a hash of seed and id (and repeat); sorted by id
/// (numbers before text, numbers by value) so that file order matters only among samples of one id.
std::vector<Sample> choose_samples(std::vector<Sample> samples, int64_t count, uint64_t seed);

/// Identifies the samples and their images' bytes (names, texts, answers, file contents).
std::string dataset_fingerprint(const std::vector<Sample>& samples);

}  // namespace yopo
