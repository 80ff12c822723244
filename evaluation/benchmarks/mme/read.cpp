#include "evaluation/benchmarks/mme/read.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/progress.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr std::string_view kYesOrNo = "Please answer yes or no.", kTxt = ".txt";
constexpr size_t kQuestionsOfImage = 2;

struct Line {
  std::string question, answer, where;
};

std::vector<Line> lines_of(const fs::path& file) {
  const std::string raw = read_text(file, uint64_t(1) << 24);
  require(valid_utf8(raw), "{}: not UTF-8", file.string());
  // As Python reads text files: every kind of line end is one.
  const std::string text = replace_all(replace_all(raw, "\r\n", "\n"), "\r", "\n");
  std::vector<Line> lines;
  int64_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = strip(std::string_view(text).substr(at, end - at));
    at = end + 1;
    ++number;
    if (line.empty()) continue;
    const std::string where = fmt::format("{}:{}", file.string(), number);
    const size_t tab = line.find('\t');
    require(tab != std::string_view::npos && line.find('\t', tab + 1) == std::string_view::npos,
            "{}: expected a question, one tab and Yes or No, found '{}'", where, printable(line));
    Line one{std::string(strip_right(line.substr(0, tab))), std::string(line.substr(tab + 1)), where};
    const std::string label = lower(one.answer);
    require(label == "yes" || label == "no", "{}: expected the label Yes or No, found '{}'", where,
            printable(one.answer));
    lines.push_back(std::move(one));
  }
  require(lines.size() == kQuestionsOfImage, "{}: expected the two questions of an image, found {}", file.string(),
          lines.size());
  return lines;
}

std::string key_of(std::string_view category, std::string_view image, std::string_view question) {
  return fmt::format("{}/{}\n{}", category, image, question);
}

/// The question as LLaVA asks it, or lmms-eval.
std::string asked_text(std::string_view question, const Protocol& protocol) {
  const std::string request(protocol.request);
  if (protocol.reworded) return replace_all(std::string(question), fmt::format(" {}", kYesOrNo), "") + request;
  if (question.ends_with(kYesOrNo)) question = strip_right(question.substr(0, question.size() - kYesOrNo.size()));
  return std::string(question) + request;
}

/// One category folder: its samples in the order of the file names.
void read_category(const fs::path& folder, const std::string& category, ImageFolder& images, bool add_images,
                   const Protocol& protocol, Mme& data, std::map<std::string, std::string>& truth) {
  const bool apart = fs::is_directory(folder / "images");
  const fs::path text_folder = apart ? folder / "questions_answers_YN" : folder;
  const fs::path image_folder = apart ? folder / "images" : folder;
  require(fs::is_directory(text_folder), "{}: expected the folder of the questions beside images",
          text_folder.string());
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(text_folder))
    if (entry.path().extension() == kTxt && entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  require(!files.empty(), "{}: no *.txt with questions", text_folder.string());
  for (const fs::path& file : files) {
    const std::string image = file.stem().string();
    require(image.find('.') == std::string::npos, "{}: a dot in the image's name: answers could not be told apart",
            file.string());
    const std::string relative = fmt::format("{}/{}{}", category, apart ? "images/" : "", image);
    std::string name = relative + (apart ? ".jpg" : ".png");
    for (const char* extension : {".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG"})
      if (fs::is_regular_file(image_folder / (image + extension))) {
        name = relative + extension;
        break;
      }
    for (const Line& line : lines_of(file)) {
      Sample sample;
      sample.id = name;
      sample.key = key_of(category, image, line.question);
      sample.where = line.where;
      sample.category = category;
      sample.text = asked_text(line.question, protocol);
      sample.answers = {line.answer};
      if (add_images) images.add(sample, {name});
      require(truth.emplace(sample.key, line.answer).second, "{}: the same question twice", line.where);
      data.truth.insert(sample.key);
      data.samples.push_back(std::move(sample));
    }
  }
}

/// The samples as LLaVA's question file words and orders them.
std::vector<Sample> ask_as_file(const BenchmarkSource& source, ImageFolder& images, const Mme& data,
                                std::map<std::string, std::string>& truth) {
  std::vector<Sample> samples = read_question_lines(source, images, true);
  std::unordered_map<std::string, std::string> asked;
  for (Sample& sample : samples) {
    sample.key = mme_key(data, sample.id, sample.text, sample.where);
    const auto [first, fresh] = asked.emplace(sample.key, sample.where);
    require(fresh, "{}: the question is asked by {} already", sample.where, first->second);
    sample.category = sample.id.substr(0, sample.id.find('/'));
    sample.answers = {truth.at(sample.key)};
    if (source.protocol.reworded)
      sample.text = asked_text(sample.key.substr(sample.key.find('\n') + 1), source.protocol);
  }
  if (asked.size() < truth.size())
    note(fmt::format("{}: asks {} of the {} questions of the folder", source.dataset.questions.string(), asked.size(),
                     truth.size()));
  return samples;
}

}  // namespace

const std::vector<std::string>& mme_categories() {
  static const std::vector<std::string> names = {"existence",
                                                 "count",
                                                 "position",
                                                 "color",
                                                 "posters",
                                                 "celebrity",
                                                 "scene",
                                                 "landmark",
                                                 "artwork",
                                                 "OCR",
                                                 "commonsense_reasoning",
                                                 "numerical_calculation",
                                                 "text_translation",
                                                 "code_reasoning"};
  return names;
}

namespace {

/// The prompt as the folder may have it, the likeliest first.
std::vector<std::string> forms_of(std::string question) {
  const std::string_view request = kShortAnswer.substr(1);
  if (question.find(request) != std::string::npos) question = std::string(strip(replace_all(question, request, "")));
  if (question.find(kYesOrNo) != std::string::npos) return {question};
  return {fmt::format("{} {}", question, kYesOrNo), fmt::format("{}  {}", question, kYesOrNo), question};
}

}  // namespace

std::string find_mme_key(const Mme& data, const std::string& question_id, const std::string& prompt) {
  const std::string category = question_id.substr(0, question_id.find('/'));
  const std::string file = question_id.substr(question_id.rfind('/') + 1);  // npos + 1 is 0
  const std::string image = file.substr(0, file.find('.'));
  for (const std::string& form : forms_of(prompt)) {
    std::string key = key_of(category, image, form);
    if (data.truth.contains(key)) return key;
  }
  return "";
}

std::string mme_key(const Mme& data, const std::string& question_id, const std::string& prompt,
                    const std::string& where) {
  std::string key = find_mme_key(data, question_id, prompt);
  require(!key.empty(), "{}: no question '{}' of image {} in the MME folder", where, printable(forms_of(prompt)[0]),
          printable(question_id));
  return key;
}

Mme read_mme(const BenchmarkSource& source) {
  BenchmarkSource from = source;
  const std::vector<fs::path> given = annotation_paths(source, "");
  require(given.size() <= 1, "annotations: expected the MME folder, found {} paths", given.size());
  const fs::path root = given.empty() ? source.dataset.images : given[0];
  require(!root.empty() && fs::is_directory(root), "images: expected the MME folder of categories, found '{}'",
          root.string());
  if (from.dataset.images.empty() && from.images_needed) from.dataset.images = root;
  ImageFolder images(from);

  std::vector<std::string> found, others;
  for (const fs::directory_entry& entry : fs::directory_iterator(root))
    if (entry.is_directory()) others.push_back(entry.path().filename().string());
  for (const std::string& name : mme_categories()) {
    const auto at = std::find(others.begin(), others.end(), name);
    if (at == others.end()) continue;
    found.push_back(name);
    others.erase(at);
  }
  require(!found.empty(), "{}: expected folders of MME's categories ({}), found none", root.string(),
          fmt::join(mme_categories(), ", "));
  std::sort(others.begin(), others.end());
  for (const std::string& name : others)
    warn(fmt::format("{}: {} is no category of MME and is left out{}", root.string(), printable(name),
                     did_you_mean(name, mme_categories())));
  std::vector<std::string> absent;
  for (const std::string& name : mme_categories())
    if (std::find(found.begin(), found.end(), name) == found.end()) absent.push_back(name);
  if (!absent.empty())
    warn(fmt::format("{}: without {}: the sums lack their points", root.string(), fmt::join(absent, ", ")));

  Mme data;
  std::map<std::string, std::string> truth;  // key -> label
  const bool file = !source.dataset.questions.empty();
  for (const std::string& name : found) read_category(root / name, name, images, !file, source.protocol, data, truth);
  if (file) data.samples = ask_as_file(from, images, data, truth);

  // Consecutive questions of a category are a pair, whatever stands between them in the file.
  std::map<std::string, std::pair<int64_t, size_t>> open;  // category -> the pair begun, and its sample
  int64_t pairs = 0;
  for (size_t i = 0; i < data.samples.size(); ++i) {
    const Sample& sample = data.samples[i];
    MmeQuestion question{sample.category, lower(sample.answers[0]) == "yes", 0};
    if (const auto begun = open.find(sample.category); begun != open.end()) {
      question.pair = begun->second.first;
      const Sample& other = data.samples[begun->second.second];
      if (other.id != sample.id)
        warn(fmt::format("{}: paired with {}, a question about another image: pairs are consecutive", sample.where,
                         other.where));
      open.erase(begun);
    } else {
      question.pair = pairs++;
      open.emplace(sample.category, std::pair(question.pair, i));
    }
    data.questions.push_back(std::move(question));
  }
  for (const auto& [category, begun] : open)
    fail("{}: category {} has an odd number of questions; expected pairs", data.samples[begun.second].where, category);
  return data;
}

}  // namespace yopo
