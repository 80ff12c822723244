#include "evaluation/benchmarks/files.h"

#include <algorithm>

#include "core/error.h"
#include "core/progress.h"

namespace yopo {

std::vector<fs::path> annotation_paths(const BenchmarkSource& source, std::string_view need) {
  const std::string list = source.dataset.annotations.string();
  std::vector<fs::path> paths;
  if (!list.empty() && fs::exists(list)) {  // a name with a comma in it
    paths.emplace_back(list);
  } else {
    for (size_t at = 0; at < list.size();) {
      const size_t end = std::min(list.find(',', at), list.size());
      if (end > at) paths.emplace_back(list.substr(at, end - at));
      at = end + 1;
    }
  }
  require(!paths.empty() || need.empty(), "annotations: expected {}; none is given", need);
  for (const fs::path& path : paths) require(fs::exists(path), "annotations: {} is not there", path.string());
  return paths;
}

std::vector<fs::path> annotation_files(const BenchmarkSource& source, std::string_view need, std::string_view start,
                                       std::string_view end) {
  std::vector<fs::path> files;
  for (const fs::path& path : annotation_paths(source, need)) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    std::vector<fs::path> inside;
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(start) && name.ends_with(end) && entry.is_regular_file()) inside.push_back(entry.path());
    }
    require(!inside.empty(), "annotations: {} holds no {}*{}", path.string(), start, end);
    std::sort(inside.begin(), inside.end());
    files.insert(files.end(), inside.begin(), inside.end());
  }
  return files;
}

void note_others(const fs::path& annotations, int64_t count, const fs::path& questions) {
  if (count > 0)
    note(fmt::format("{}: {} annotations of questions that {} does not ask are left out", annotations.string(), count,
                     questions.string()));
}

std::string id_of(const Json& record, std::string_view key, const std::string& where, bool* integer) {
  require(record.is_object(), "{}: expected an object, found {}", where, printable(record.dump()));
  require(has(record, key), "{}: '{}' is missing", where, key);
  const Json& id = record.at(std::string(key));
  if (integer != nullptr) *integer = id.is_number_integer();
  if (id.is_number_integer()) return id.dump();
  require(id.is_string() && !id.get_ref<const std::string&>().empty(),
          "{}: '{}': expected an integer or a text, found {}", where, key, printable(id.dump()));
  return id.get<std::string>();
}

ImageFolder::ImageFolder(const BenchmarkSource& source)
    : folder_(source.dataset.images), needed_(source.images_needed) {
  require(folder_.empty() || fs::is_directory(folder_), "{} is not a folder of images", folder_.string());
}

void ImageFolder::add(Sample& sample, const std::vector<std::string>& names) {
  ensure(!names.empty(), "an image without a name");
  require(!folder_.empty() || !needed_, "{}: the question has an image, but no images folder is given", sample.where);
  if (folder_.empty()) return;
  std::vector<fs::path> paths;
  for (const std::string& name : names) {
    paths.push_back(inside(folder_, name, sample.where + ": image"));
    if (found_.contains(paths.back().string())) break;
    if (!fs::is_regular_file(paths.back())) continue;
    found_.insert(paths.back().string());
    break;
  }
  require(found_.contains(paths.back().string()), "{}: image {} is not there", sample.where, paths.front().string());
  sample.images.push_back(paths.back());
}

void IdIndex::add(const std::string& id, const std::string& where) {
  const auto [first, fresh] = places_.emplace(id, where);
  require(fresh, "{}: the id {} is taken by {}", where, printable(id), first->second);
}

std::vector<Sample> read_question_lines(const BenchmarkSource& source, ImageFolder& images, bool ids_may_repeat) {
  const fs::path& file = source.dataset.questions;
  require(!file.empty(), "questions: no question file is given");
  std::vector<Sample> samples;
  IdIndex ids;
  for (const JsonLine& line : read_json_lines(file)) {
    Sample sample;
    sample.where = fmt::format("{}:{}", file.string(), line.line);
    sample.id = id_of(line.value, "question_id", sample.where, &sample.integer_id);
    if (!ids_may_repeat) ids.add(sample.id, sample.where);
    sample.text = get_string(line.value, "text", sample.where);
    sample.category = get_string_or(line.value, "category", sample.where, "");
    images.add(sample, {get_string(line.value, "image", sample.where)});
    samples.push_back(std::move(sample));
  }
  require(!samples.empty(), "{}: no questions", file.string());
  return samples;
}

void check_label(const std::string& label, const std::vector<std::string>& known, std::string_view what,
                 const std::string& where) {
  require(std::find(known.begin(), known.end(), label) != known.end(), "{}: {}: expected one of {}, found '{}'{}",
          where, what, fmt::join(known, ", "), printable(label), did_you_mean(label, known));
}

}  // namespace yopo
