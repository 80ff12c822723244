#include "evaluation/benchmarks/scienceqa/read.h"

#include "core/error.h"
#include "core/progress.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr std::string_view kPlaceholder = "<image>", kSplit = "test";

struct Problem {
  ScienceQaQuestion question;
  bool in_split = false;
  std::string wording;  // as lmms-eval asks, without the request; only where that is wanted
};

/// [Context: hint\n]question\nA. ...
std::string lmms_wording(const Json& record, const std::string& where) {
  const std::string hint = get_string_or(record, "hint", where, "");
  std::string text = hint.empty() ? "" : fmt::format("Context: {}\n", hint);
  text += get_string(record, "question", where);
  char letter = 'A';
  for (const Json& choice : get_array(record, "choices", where)) {
    require(choice.is_string(), "{}: choices: expected texts, found {}", where, printable(choice.dump()));
    require(letter <= 'Z', "{}: choices: more than there are letters", where);
    text += fmt::format("\n{}. {}", letter++, choice.get<std::string>());
  }
  return text;
}

std::unordered_map<std::string, Problem> read_problems(const fs::path& file, bool reworded) {
  const Json json = read_json(file);
  require(json.is_object(), "{}: expected an object of problems by id", file.string());
  std::unordered_map<std::string, Problem> problems;
  for (const auto& [id, record] : json.items()) {
    const std::string where = fmt::format("{}: {}", file.string(), printable(id));
    ScienceQaQuestion question;
    question.choices = int64_t(get_array(record, "choices", where).size());
    require(question.choices > 0, "{}: choices: the list is empty", where);
    question.answer = get_int(record, "answer", where, 0, question.choices - 1);
    problems[id] = {question, false, reworded ? lmms_wording(record, where) : ""};
  }
  return problems;
}

/// LLaVA's question, or the one of `problems` that words it otherwise.
Sample sample_of(const Json& record, const std::string& where, ImageFolder& images,
                 const std::unordered_map<std::string, Problem>& problems, std::string_view request) {
  Sample sample;
  sample.where = where;
  sample.id = id_of(record, "id", where, &sample.integer_id);
  const Json& turns = get_array(record, "conversations", where);
  require(!turns.empty(), "{}: conversations: no turns", where);
  const std::string from = get_string_or(turns[0], "from", where + ": conversations", "human");
  require(from == "human", "{}: conversations: expected the first turn from human, found '{}'", where, printable(from));
  const std::string value = get_string(turns[0], "value", where + ": conversations");
  sample.text = std::string(strip(replace_all(value, kPlaceholder, ""))) + std::string(request);
  const auto problem = problems.find(sample.id);
  if (problem != problems.end() && !problem->second.wording.empty())
    sample.text = problem->second.wording + std::string(request);
  if (has(record, "image")) {
    images.add(sample, {get_string(record, "image", where)});
    sample.prompt = std::string(kPlaceholder) + "\n" + sample.text;  // the script tells questions with an image by this
  }
  return sample;
}

}  // namespace

ScienceQa read_scienceqa(const BenchmarkSource& source) {
  fs::path problems_file, splits_file;
  constexpr std::string_view need = "problems.json and pid_splits.json, or their folder";
  for (const fs::path& path : annotation_paths(source, need)) {
    if (fs::is_directory(path)) {
      problems_file = path / "problems.json";
      splits_file = path / "pid_splits.json";
    } else {
      (path.filename().string().find("split") != std::string::npos ? splits_file : problems_file) = path;
    }
  }
  require(!problems_file.empty() && !splits_file.empty(), "annotations: expected {}; found only {}", need,
          source.dataset.annotations.string());
  std::unordered_map<std::string, Problem> problems = read_problems(problems_file, source.protocol.reworded);
  const Json splits = read_json(splits_file);
  int64_t in_split = 0;
  std::string unknown;  // of the split: said only when every question asked has its problem
  for (const Json& entry : get_array(splits, kSplit, splits_file.string())) {
    const std::string where = fmt::format("{}: {}", splits_file.string(), kSplit);
    require(entry.is_string() || entry.is_number_integer(), "{}: expected ids, found {}", where,
            printable(entry.dump()));
    const std::string id = entry.is_string() ? entry.get<std::string>() : entry.dump();
    const auto found = problems.find(id);
    if (found == problems.end()) {
      if (unknown.empty()) unknown = id;
      continue;
    }
    require(!found->second.in_split, "{}: problem {} is listed twice", where, printable(id));
    found->second.in_split = true;
    ++in_split;
  }

  ScienceQa data;
  ImageFolder images(source);
  const std::string file = source.dataset.questions.string();
  require(!file.empty(), "questions: no question file is given");
  const Json records = read_json(source.dataset.questions);
  require(records.is_array() && !records.empty(), "{}: expected a list of questions", file);
  IdIndex ids;
  for (const Json& record : records) {
    Sample sample = sample_of(record, fmt::format("{}: record {}", file, data.samples.size()), images, problems,
                              source.protocol.request);
    ids.add(sample.id, sample.where);
    const auto problem = problems.find(sample.id);
    require(problem != problems.end(), "{}: question {} is not in {}", sample.where, sample.id, problems_file.string());
    require(problem->second.in_split, "{}: question {} is not in split {} of {}", sample.where, sample.id, kSplit,
            splits_file.string());
    ScienceQaQuestion question = problem->second.question;
    question.image = sample.prompt.has_value();
    sample.answers = {std::string(1, char('A' + std::min<int64_t>(question.answer, 25)))};
    data.samples.push_back(std::move(sample));
    data.questions.push_back(question);
  }
  require(unknown.empty(), "{}: {}: problem {} is not in {}", splits_file.string(), kSplit, printable(unknown),
          problems_file.string());
  data.unasked = in_split - int64_t(data.samples.size());
  if (data.unasked > 0)
    warn(fmt::format("{}: {} of {} questions of split {} are not asked; they count as wrong in the total", file,
                     data.unasked, in_split, kSplit));
  return data;
}

}  // namespace yopo
