#include "datasets/sample.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "core/json.h"
#include "core/progress.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr std::string_view kPlaceholder = "<image>";

/// A question id is an integer or a text; 7 and "7" are the same id.
std::string id_of(const Json& record, const char* key, const std::string& where, bool* integer) {
  require(has(record, key), "{}: '{}' is missing", where, key);
  const Json& id = record.at(key);
  *integer = id.is_number_integer();
  if (*integer) return id.dump();
  require(id.is_string() && !id.get_ref<const std::string&>().empty(),
          "{}: '{}': expected an integer or a text, found {}", where, key, printable(id.dump()));
  return id.get<std::string>();
}

/// A text, or a number as people write short answers down.
std::string answer_of(const Json& value, const std::string& where) {
  if (value.is_number() || value.is_boolean()) return value.dump();
  require(value.is_string(), "{}: expected an answer as text, found {}", where, printable(value.dump()));
  return value.get<std::string>();
}

/// The answers under the first of these keys that is there; one or a list.
std::vector<std::string> answers_of(const Json& record, std::initializer_list<const char*> keys,
                                    const std::string& where) {
  std::vector<std::string> answers;
  for (const char* key : keys) {
    if (!has(record, key)) continue;
    const std::string place = where + ": " + key;
    if (!record.at(key).is_array()) return {answer_of(record.at(key), place)};
    for (const Json& one : record.at(key)) answers.push_back(answer_of(one, place));
    require(!answers.empty(), "{}: the list is empty", place);
    return answers;
  }
  return answers;
}

/// Takes the image placeholders out: where they go is the prompt template's business. Their number must fit the images.
std::string without_placeholders(const std::string& text, size_t images, const std::string& where) {
  size_t count = 0;
  for (size_t at = text.find(kPlaceholder); at != std::string::npos;
       at = text.find(kPlaceholder, at + kPlaceholder.size()))
    ++count;
  if (count == 0) return text;
  require(count == images, "{}: the text has {} {} for {} images", where, count, kPlaceholder, images);
  return std::string(strip(replace_all(text, kPlaceholder, "")));
}

class Reader {
 public:
  Reader(const DatasetOptions& options, bool images_needed) : options_(options), images_needed_(images_needed) {}

  void add(const Json& record, const std::string& where, const char* id_key) {
    require(record.is_object(), "{}: expected an object, found {}", where, printable(record.dump()));
    Sample sample;
    sample.where = where;
    if (samples_.empty()) numbered_ = !has(record, id_key);
    require(numbered_ != has(record, id_key), "{}: '{}' is {}: either every question has one or none", where, id_key,
            numbered_ ? "given, and the questions before have none" : "missing, and the questions before have one");
    if (numbered_) {
      sample.id = std::to_string(samples_.size());
      sample.integer_id = true;
    } else {
      sample.id = id_of(record, id_key, where, &sample.integer_id);
    }
    std::vector<size_t>& same = index_[sample.id];
    same.push_back(samples_.size());
    sample.repeat = int64_t(same.size());
    if (sample.repeat > 1) {  // keys say that the id alone does not tell these
      samples_[same[0]].key = repeated_key(sample.id, 1);
      sample.key = repeated_key(sample.id, sample.repeat);
    }
    const size_t images = add_images(record, sample);
    if (options_.format == "llava") {
      const char* key = has(record, "question") && !has(record, "text") ? "question" : "text";
      sample.text = without_placeholders(get_string(record, key, where), images, where);
      sample.category = get_string_or(record, "category", where, "");
      sample.answers = answers_of(record, {"answers", "answer"}, where);
    } else {
      add_conversation(record, images, sample);
    }
    samples_.push_back(std::move(sample));
  }

  /// Whether the file's questions have ids of their own.
  bool has_ids() const { return !numbered_; }

  /// The annotations take the place of answers in the question file. Answers to other questions are left out: the file
  /// may serve several question files; one that was only `found` next to the questions may be another's altogether.
  void join(const fs::path& file, bool found) {
    std::unordered_map<std::string, size_t> lines;  // of an id so far
    int64_t others = 0, replaced = 0;
    std::string first_other;
    for (const JsonLine& line : read_json_lines(file)) {
      const std::string where = fmt::format("{}:{}", file.string(), line.line);
      require(line.value.is_object(), "{}: expected an object, found {}", where, printable(line.value.dump()));
      bool integer = false;
      const std::string id = id_of(line.value, "question_id", where, &integer);
      const auto question = index_.find(id);
      if (question == index_.end()) {
        if (others++ == 0) first_other = fmt::format("{}: an answer to question {}", where, printable(id));
        continue;
      }
      std::vector<std::string> answers = answers_of(line.value, {"answers", "answer", "text"}, where);
      require(!answers.empty(), "{}: no answer: expected 'text', 'answer' or 'answers'", where);
      // The lines of an id belong to its questions in order; lines past the last take its place.
      size_t& line_number = lines[id];
      const bool again = line_number == question->second.size();
      if (again) {
        warn(fmt::format("{}: a second answer to question {}; the last one counts", where, printable(id)));
        --line_number;
      }
      std::vector<std::string>& own = samples_[question->second[line_number++]].answers;
      if (!again && !own.empty() && own != answers) ++replaced;
      own = std::move(answers);
    }
    require(found || !lines.empty() || others == 0, "{}, which {} does not ask, and so it is with all {} answers",
            first_other, options_.questions.string(), others);
    if (found && replaced > 0)
      warn(
          fmt::format("{} was found next to {} and takes the place of {} other answers in it; move it where it does "
                      "not belong to these questions",
                      file.string(), options_.questions.string(), replaced));
    if (others > 0)
      note(fmt::format("{}: {} answers to questions that {} does not ask are left out", file.string(), others,
                       options_.questions.string()));
  }

  std::vector<Sample> take() { return std::move(samples_); }

 private:
  /// How many images the record names.
  size_t add_images(const Json& record, Sample& sample) {
    if (!has(record, "image")) return 0;
    const Json& image = record.at("image");
    const Json names = image.is_array() ? image : Json::array({image});
    for (const Json& name : names) {
      require(name.is_string(), "{}: image: expected a file name, found {}", sample.where, printable(name.dump()));
      if (options_.images.empty() && !images_needed_) continue;
      require(!options_.images.empty(), "{}: the question has an image, but no images folder is given", sample.where);
      const fs::path path = inside(options_.images, name.get_ref<const std::string&>(), sample.where + ": image");
      if (found_.insert(path.string()).second)  // data sets ask several questions about an image
        require(fs::is_regular_file(path), "{}: image {} is not there", sample.where, path.string());
      sample.images.push_back(path);
    }
    return names.size();
  }

  void add_conversation(const Json& record, size_t images, Sample& sample) {
    const Json& turns = get_array(record, "conversations", sample.where);
    bool asked = false, answered = false;
    for (const Json& turn : turns) {
      const std::string from = get_string(turn, "from", sample.where + ": conversations");
      require(from == "human" || from == "gpt" || from == "system",
              "{}: conversations: from: expected human or gpt, found '{}'", sample.where, printable(from));
      const std::string value = get_string(turn, "value", sample.where + ": conversations");
      if (from == "human" && !asked) {
        asked = true;
        sample.text = without_placeholders(value, images, sample.where);
      } else if (from == "gpt" && asked && !answered) {
        answered = true;
        sample.answers = {value};
      }
    }
    require(asked, "{}: conversations: no turn from human", sample.where);
    sample.category = get_string_or(record, "category", sample.where, "");
  }

  const DatasetOptions& options_;
  bool images_needed_;
  bool numbered_ = false;
  std::vector<Sample> samples_;
  std::unordered_map<std::string, std::vector<size_t>> index_;  // of an id
  std::unordered_set<std::string> found_;
};

/// Numbers before texts, numbers by value, texts by bytes, those of one id in the order of the file. An integer's text
/// has no leading zeros and maybe a minus.
bool id_before(const Sample& a, const Sample& b) {
  if (a.integer_id != b.integer_id) return a.integer_id;
  if (a.id == b.id) return a.repeat < b.repeat;
  if (!a.integer_id) return a.id < b.id;
  const bool minus = a.id[0] == '-', other_minus = b.id[0] == '-';
  if (minus != other_minus) return minus;
  const auto size_then_digits = [](const std::string& id) { return std::pair(id.size(), std::string_view(id)); };
  return minus ? size_then_digits(b.id) < size_then_digits(a.id) : size_then_digits(a.id) < size_then_digits(b.id);
}

}  // namespace

std::string repeated_key(const std::string& key, int64_t count) {
  return count == 1 ? key : fmt::format("{}\n{}", key, count);
}

std::vector<Sample> read_samples(const DatasetOptions& options, bool images_needed) {
  const std::vector<std::string> formats = {"llava", "conversations"};
  require(std::find(formats.begin(), formats.end(), options.format) != formats.end(),
          "dataset format: expected llava or conversations, found '{}'{}", printable(options.format),
          did_you_mean(options.format, formats));
  require(!options.questions.empty(), "dataset: no question file is given");
  require(options.images.empty() || fs::is_directory(options.images), "{} is not a folder of images",
          options.images.string());
  const std::string file = options.questions.string();
  Reader reader(options, images_needed);
  if (options.format == "llava") {
    for (const JsonLine& line : read_json_lines(options.questions))
      reader.add(line.value, fmt::format("{}:{}", file, line.line), "question_id");
  } else {
    const Json records = read_json(options.questions);
    require(records.is_array(), "{}: expected a list of conversations", file);
    for (size_t i = 0; i < records.size(); ++i) reader.add(records[i], fmt::format("{}: record {}", file, i), "id");
  }
  const fs::path near = options.questions.parent_path() / "answers.jsonl";
  if (!options.annotations.empty()) {
    require(
        reader.has_ids(),
        "{}: questions without question_id have no answers in another file; expected 'answer' in each line, found {}",
        file, options.annotations.string());
    reader.join(options.annotations, false);
  } else if (options.format == "llava" && reader.has_ids() && fs::is_regular_file(near) && near != options.questions) {
    reader.join(near, true);
  }
  std::vector<Sample> samples = reader.take();
  require(!samples.empty(), "{}: no samples", file);
  return samples;
}

std::vector<Sample> choose_samples(std::vector<Sample> samples, int64_t count, uint64_t seed) {
  if (count > 0 && count < int64_t(samples.size())) {
    // A hash of its own for every sample: adding samples to the file changes the choice only as far as they are chosen.
    std::vector<std::tuple<uint64_t, std::string, size_t>> order;
    for (size_t i = 0; i < samples.size(); ++i) {
      const std::string id = repeated_key(samples[i].id, samples[i].repeat);
      order.emplace_back(XXH3_64bits_withSeed(id.data(), id.size(), seed), id, i);
    }
    std::nth_element(order.begin(), order.begin() + count, order.end());
    std::vector<Sample> chosen;
    for (int64_t i = 0; i < count; ++i) chosen.push_back(std::move(samples[std::get<2>(order[size_t(i)])]));
    samples = std::move(chosen);
  }
  std::stable_sort(samples.begin(), samples.end(), id_before);
  return samples;
}

std::string dataset_fingerprint(const std::vector<Sample>& samples) {
  Fingerprint all;
  std::map<fs::path, std::string> files;
  const auto count = [&](size_t n) { all.add(std::to_string(n)); };
  all.add("yopo samples 1");
  count(samples.size());
  for (const Sample& sample : samples) {
    all.add(sample.id).add(sample.integer_id ? "integer" : "text").add(sample.text).add(sample.category);
    count(sample.answers.size());
    for (const std::string& answer : sample.answers) all.add(answer);
    count(sample.images.size());
    for (const fs::path& image : sample.images) {
      // The folder may move; the image's own name and bytes may not.
      auto known = files.find(image);
      if (known == files.end()) known = files.emplace(image, Fingerprint().add_file(image).hex()).first;
      all.add(image.filename().string()).add(known->second);
    }
    for (const EncodedImage& image : sample.encoded) {
      all.add(image.text());
      image.file->drop(image.offset, image.size);
    }
  }
  return all.hex();
}

}  // namespace yopo
