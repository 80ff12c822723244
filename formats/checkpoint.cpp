#include "formats/checkpoint.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "formats/torch_file.h"

namespace yopo {

namespace {

/// A kind of weights file by the names transformers gives it: one file, or shards and their index. In the order of
/// preference.
struct WeightFiles {
  const char* single;
  const char* index;
  bool torch;  // of torch.save
};
constexpr WeightFiles kKinds[] = {{"model.safetensors", "model.safetensors.index.json", false},
                                  {"pytorch_model.bin", "pytorch_model.bin.index.json", true}};

std::vector<std::string> names_of(const std::map<std::string, TensorView>& tensors) {
  std::vector<std::string> names;
  names.reserve(tensors.size());
  for (const auto& [name, unused] : tensors) names.push_back(name);
  return names;
}

/// Says what the folder holds instead, where a person can act on it.
[[noreturn]] void fail_no_weights(const fs::path& folder) {
  std::vector<std::string> expected;
  for (const WeightFiles& kind : kKinds) expected.insert(expected.end(), {kind.single, kind.index});
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".bin") || name.ends_with(".safetensors") || name.ends_with(".pth"))
      fail("{}: no weights by a name that is known: expected {}; found {}", folder.string(), fmt::join(expected, ", "),
           printable(name));
  }
  fail("{}: no weights: expected {}", folder.string(), fmt::join(expected, ", "));
}

/// Which weights the folder has, and whether in a single file.
std::pair<WeightFiles, bool> find_weights(const fs::path& folder) {
  std::error_code code;
  for (const WeightFiles& kind : kKinds)
    for (const bool single : {true, false})
      if (fs::exists(folder / (single ? kind.single : kind.index), code)) return {kind, single};
  fail_no_weights(folder);
}

/// One weights file, of either kind.
struct Loaded {
  std::map<std::string, TensorView> tensors;
  std::vector<std::string> names;  // in file order
};
Loaded load(const fs::path& path, bool torch) {
  if (torch) {
    const TorchFile file = TorchFile::open(path);
    return {file.tensors(), file.names()};
  }
  const SafetensorsFile file = SafetensorsFile::open(path);
  return {file.tensors(), file.names()};
}

/// Whether any of `count` elements has all exponent bits set, which is what NaN and Inf share.
template <typename Bits>
bool any_not_finite(const Bits* from, size_t count, Bits exponent) {
  constexpr size_t kBlock = 1024;  // a constant count lets the compiler use vectors
  size_t at = 0;
  for (; at + kBlock <= count; at += kBlock) {
    Bits bad = 0;
    for (size_t i = 0; i < kBlock; ++i) bad |= Bits((from[at + i] & exponent) == exponent);
    if (bad) return true;
  }
  for (; at < count; ++at)
    if ((from[at] & exponent) == exponent) return true;
  return false;
}

template <typename Bits>
int64_t first_not_finite(const Bits* from, size_t count, Bits exponent) {
  constexpr size_t kStep = size_t(1) << 16;
  for (size_t at = 0; at < count; at += kStep) {
    const size_t step = std::min(kStep, count - at);
    if (!any_not_finite(from + at, step, exponent)) continue;
    for (size_t i = at; i < at + step; ++i)
      if ((from[i] & exponent) == exponent) return int64_t(i);
  }
  return -1;
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& folder) {
  std::error_code code;
  const bool there = fs::exists(folder, code);
  if (code) fail("cannot open {}: {}", folder.string(), code.message());
  require(there, "{}: no such folder", folder.string());
  require(fs::is_directory(folder, code), "{}: expected a checkpoint folder, found a file", folder.string());
  require(fs::exists(folder / "config.json", code), "{}: no config.json: not a checkpoint folder", folder.string());
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  checkpoint.config_ = read_json(folder / "config.json");
  require(checkpoint.config_.is_object(), "{}: expected a JSON object", (folder / "config.json").string());

  std::map<std::string, std::string> shard_of;  // tensor -> shard, as the index says
  std::vector<std::string> files;
  const auto [kind, single] = find_weights(folder);
  const fs::path index_path = folder / kind.index;
  if (single) {
    files.push_back(kind.single);
  } else {
    const Json index = read_json(index_path);
    const Json& map = get_object(index, "weight_map", index_path.string());
    for (const auto& [name, file] : map.items()) {
      require(file.is_string(), "{}: weight_map '{}' should be a file name", index_path.string(), printable(name));
      const auto shard = file.get<std::string>();
      shard_of[name] = shard;
    }
    std::map<std::string, bool> seen;
    for (const auto& [name, file] : map.items())
      if (!std::exchange(seen[file.get<std::string>()], true)) files.push_back(file.get<std::string>());
    require(!files.empty(), "{}: weight_map is empty", index_path.string());
  }

  for (const std::string& name : files) {
    const fs::path path = inside(folder, name, single ? folder.string() : index_path.string());
    require(fs::exists(path, code), "{}: shard {} is missing, {} names it", folder.string(), printable(name),
            kind.index);
    Loaded shard = load(path, kind.torch);
    for (const auto& [tensor, view] : shard.tensors) {
      const auto [it, fresh] = checkpoint.tensors_.emplace(tensor, view);
      require(fresh, "{}: tensor '{}' is in two shards, {} and {}", folder.string(), printable(tensor),
              it->second.file->path().filename().string(), printable(name));
      const auto said = shard_of.find(tensor);
      require(said == shard_of.end() || said->second == name, "{}: tensor '{}' is in {}, {} says {}", folder.string(),
              printable(tensor), printable(name), kind.index, said == shard_of.end() ? "" : printable(said->second));
    }
    checkpoint.shards_.push_back({name, std::move(shard.names)});
  }
  for (const auto& [tensor, shard] : shard_of)
    if (!checkpoint.contains(tensor))  // the nearest of a thousand names costs too much to be asked for each in vain
      fail("{}: {} names tensor '{}' in {}, which does not hold it{}", folder.string(), kind.index, printable(tensor),
           printable(shard), did_you_mean(tensor, names_of(checkpoint.tensors_)));
  return checkpoint;
}

void Checkpoint::supplement(const std::string& file, const std::string& prefix) {
  const fs::path path = folder_ / file;
  std::error_code code;
  const bool complete = std::any_of(tensors_.begin(), tensors_.end(),
                                    [&](const auto& tensor) { return tensor.first.starts_with(prefix); });
  if (complete || !fs::exists(path, code)) return;
  const TorchFile found = TorchFile::open(path);
  Shard shard{file, {}};
  for (const std::string& name : found.names()) {
    if (!name.starts_with(prefix)) continue;
    tensors_.emplace(name, found.tensors().at(name));
    shard.names.push_back(name);
  }
  require(!shard.names.empty(), "{}: no tensor begins with '{}', as those do that the checkpoint lacks; it holds '{}'",
          path.string(), prefix, printable(found.names().front()));
  shards_.push_back(std::move(shard));
}

const TensorView& Checkpoint::at(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end())
    fail("{}: no tensor '{}'{}", folder_.string(), printable(name), did_you_mean(name, names_of(tensors_)));
  return it->second;
}

const TensorView& Checkpoint::at(const std::string& name, std::span<const int64_t> shape) const {
  const TensorView& view = at(name);
  require(std::equal(shape.begin(), shape.end(), view.shape.begin(), view.shape.end()),
          "{}: tensor '{}' should have shape {}, found {}", folder_.string(), printable(name), shape_string(shape),
          shape_string(view.shape));
  return view;
}

void Checkpoint::add(const Checkpoint& other, const std::string& prefix) {
  for (const auto& [name, view] : other.tensors_)
    require(tensors_.emplace(prefix + name, view).second, "{}: tensor '{}' of {} exists here already", folder_.string(),
            printable(prefix + name), other.folder_.string());
}

std::string Checkpoint::fingerprint() const {
  constexpr size_t kEdge = 4096;
  Fingerprint fingerprint;
  Json config = config_;
  if (has(config, "yopo") && config["yopo"].is_object()) config["yopo"].erase("provenance");
  fingerprint.add(config.dump());
  for (const auto& [name, view] : tensors_) {
    fingerprint.add(name).add(safetensors_name(view.dtype)).add(fmt::format("{}", fmt::join(view.shape, ",")));
    const size_t edge = std::min(kEdge, view.bytes.size());
    fingerprint.add(view.bytes.first(edge)).add(view.bytes.last(edge));
  }
  return fingerprint.hex();
}

void check_finite(const TensorView& tensor, const std::string& name, const fs::path& file) {
  const size_t count = size_t(tensor.count());
  int64_t bad = -1;
  switch (tensor.dtype) {
    case DType::F32:
      bad = first_not_finite<uint32_t>(tensor.data<uint32_t>(), count, 0x7f800000u);
      break;
    case DType::F16:
      bad = first_not_finite<uint16_t>(tensor.data<uint16_t>(), count, uint16_t(0x7c00));
      break;
    case DType::BF16:
      bad = first_not_finite<uint16_t>(tensor.data<uint16_t>(), count, uint16_t(0x7f80));
      break;
    case DType::F64:
      bad = first_not_finite<uint64_t>(tensor.data<uint64_t>(), count, 0x7ff0000000000000u);
      break;
    default:
      return;
  }
  if (bad < 0) return;
  std::vector<int64_t> index(tensor.shape.size());
  int64_t rest = bad;
  for (size_t i = index.size(); i-- > 0; rest /= tensor.shape[i]) index[i] = rest % tensor.shape[i];
  fail("{}: tensor '{}' {} holds NaN or Inf at {}", file.string(), printable(name), shape_string(tensor.shape),
       shape_string(index));
}

}  // namespace yopo
