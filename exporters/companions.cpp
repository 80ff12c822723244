#include "exporters/companions.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/json.h"
#include "core/lfs.h"
#include "exporters/staging.h"

namespace yopo {
namespace {

bool ends_with_any(const std::string& name, const std::vector<std::string>& ends) {
  return std::any_of(ends.begin(), ends.end(), [&](const std::string& end) { return name.ends_with(end); });
}

std::string lower_case(std::string name) {
  for (char& c : name) c = char(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

// By name alone: weights are large, and another program's are not this export's.
bool is_weights(const std::string& given) {
  static const std::vector<std::string> ends{".safetensors", ".bin",     ".pt",   ".pth",    ".ckpt",      ".h5",
                                             ".msgpack",     ".gguf",    ".ggml", ".onnx",   ".ot",        ".onnx_data",
                                             ".tflite",      ".mlmodel", ".npz",  ".distcp", ".index.json"};
  return ends_with_any(lower_case(given), ends);
}

// What loaders of the checkpoint read.
bool is_needed(const std::string& name) {
  static const std::vector<std::string> names{"special_tokens_map.json",
                                              "added_tokens.json",
                                              "preprocessor_config.json",
                                              "processor_config.json",
                                              "video_preprocessor_config.json",
                                              "generation_config.json",
                                              "vocab.json",
                                              "vocab.txt",
                                              "merges.txt"};
  return name.starts_with("tokenizer") || name.starts_with("chat_template") || name.ends_with(".model") ||
         name.ends_with(".py") || std::find(names.begin(), names.end(), name) != names.end();
}

bool within(const fs::path& file, const fs::path& folder) {
  const fs::path relative = file.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

class Copier {
 public:
  Copier(const fs::path& from, const fs::path& to, const std::vector<fs::path>& except) : from_(from), to_(to) {
    std::error_code code;
    home_ = fs::canonical(from, code);
    if (code) fail("cannot read {}: {}", from.string(), code.message());
    config_home_ = fs::canonical(from / "config.json", code).parent_path();
    if (code) config_home_ = home_;
    for (const fs::path& path : except)
      if (const fs::path found = fs::canonical(path, code); !code) except_.push_back(found);
  }

  Companions all() {
    folder("");
    std::sort(result_.copied.begin(), result_.copied.end());
    std::sort(result_.left_out.begin(), result_.left_out.end(),
              [](const LeftOut& a, const LeftOut& b) { return a.path < b.path; });
    return std::move(result_);
  }

 private:
  void leave(const fs::path& relative, const char* why) { result_.left_out.push_back({relative.string(), why}); }

  void folder(const fs::path& relative) {
    std::error_code code;
    std::vector<fs::directory_entry> entries;
    for (fs::directory_iterator entry(from_ / relative, code), end; !code && entry != end; entry.increment(code))
      entries.push_back(*entry);
    if (code) fail("cannot read {}: {}", (from_ / relative).string(), code.message());
    for (const fs::directory_entry& entry : entries) take(entry, relative / entry.path().filename());
  }

  void take(const fs::directory_entry& entry, const fs::path& relative) {
    const std::string name = relative.filename().string();
    std::error_code code;
    const fs::file_status own = entry.symlink_status(code), target = entry.status(code);
    if (name.starts_with(".")) return leave(relative, "hidden");
    if (fs::is_directory(target)) {
      if (fs::is_symlink(own)) return leave(relative, "a link to a folder");
      if (excluded(entry.path())) return;
      if (is_checkpoint(entry.path())) return leave(relative, "a checkpoint of its own");
      return folder(relative);
    }
    if (relative == "config.json") return;
    if (excluded(entry.path())) return;
    if (is_weights(name)) return leave(relative, "weights");
    if (!fs::is_regular_file(target)) return leave(relative, fs::is_symlink(own) ? "a link to nothing" : "no file");
    if (fs::is_symlink(own) && !(is_needed(name) && !relative.has_parent_path()) && !leads_home(entry.path()))
      return leave(relative, "a link out of the folder");
    if (fs::exists(fs::symlink_status(to_ / relative, code))) return leave(relative, "its name is taken");
    // A loader must have what it needs; the export does not depend on the rest.
    if (!is_needed(name) && is_lfs_pointer(entry.path())) return leave(relative, "a Git LFS pointer");
    copy_bytes(entry.path(), to_ / relative);
    result_.copied.push_back(relative.string());
  }

  bool excluded(const fs::path& path) const {
    std::error_code code;
    const fs::path found = fs::canonical(path, code);
    return std::find(except_.begin(), except_.end(), found) != except_.end();
  }

  bool leads_home(const fs::path& link) const {
    std::error_code code;
    const fs::path target = fs::canonical(link, code);
    return !code && (within(target, home_) || within(target, config_home_));
  }

  // A trainer's checkpoint-500, an earlier export, a tower.
  static bool is_checkpoint(const fs::path& path) {
    std::error_code code;
    if (!fs::exists(path / "config.json", code)) return false;
    for (fs::directory_iterator entry(path, code), end; !code && entry != end; entry.increment(code))
      if (is_weights(entry->path().filename().string())) return true;
    return false;
  }

  const fs::path &from_, &to_;
  fs::path home_, config_home_;
  std::vector<fs::path> except_;
  Companions result_;
};

// transformers 5 calls a class X that computes with torchvision and XPil what computes with PIL; in 4 these are XFast
// and X.
std::string older_name(const std::string& name) {
  if (name.ends_with("Pil")) return name.substr(0, name.size() - 3);
  return name.ends_with("Fast") ? name : name + "Fast";
}

}  // namespace

Companions copy_companions(const fs::path& from, const fs::path& to, const std::vector<fs::path>& except) {
  return Copier(from, to, except).all();
}

bool derive_preprocessor(const fs::path& folder) {
  const fs::path newer = folder / "processor_config.json", older = folder / "preprocessor_config.json";
  if (fs::exists(older) || !fs::exists(newer)) return false;
  const Json processor = read_json(newer);
  if (!processor.is_object() || !has(processor, "image_processor") || !processor["image_processor"].is_object())
    return false;
  Json rules = processor["image_processor"];
  if (has(rules, "image_processor_type") && rules["image_processor_type"].is_string())
    rules["image_processor_type"] = older_name(rules["image_processor_type"].get<std::string>());
  if (has(processor, "processor_class")) rules["processor_class"] = processor["processor_class"];
  write_json(older, rules);
  return true;
}

}  // namespace yopo
