// A Hugging Face checkpoint folder: config.json and the tensors of all its shards under one roof.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "formats/safetensors.h"

namespace yopo {

/// Tensors by name over `model.safetensors` or the shards of `model.safetensors.index.json`, or else
/// (formats/torch_file.h) `pytorch_model.bin` or the shards of `pytorch_model.bin.index.json`. Const members may be
/// called from several threads at once.
class Checkpoint {
 public:
  /// UserError for: no such folder, no config.json, no weights, a shard that is missing or whose name leaves the
  /// folder, an index that names a tensor its shard does not hold, a tensor in two shards.
  static Checkpoint open(const fs::path& folder);

  const fs::path& folder() const { return folder_; }
  const Json& config() const { return config_; }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  /// UserError naming folder, tensor and the nearest name if absent.
  const TensorView& at(const std::string& name) const;
  /// As at(), and UserError naming both shapes unless the tensor has `shape`.
  const TensorView& at(const std::string& name, std::span<const int64_t> shape) const;
  /// Shard files in index order, each with its tensor names in file order: what an exporter mirrors.
  struct Shard {
    std::string file;
    std::vector<std::string> names;
  };
  const std::vector<Shard>& shards() const { return shards_; }
  /// Adds another folder's tensors under a prefix (a separate vision tower). UserError if a name exists already.
  void add(const Checkpoint& other, const std::string& prefix);
  /// Where no tensor's name begins with `prefix`: adds those of `file` in this folder that do, as one more shard. The
  /// original LLaVA keeps a fine-tuned projector so. Nothing happens without such a file; UserError if it has none.
  void supplement(const std::string& file, const std::string& prefix);
  /// Identifies the weights without reading all of them: names, dtypes, shapes, and the first and last 4 KiB of each
  /// tensor, with config.json (less its "yopo" object's provenance).
  std::string fingerprint() const;

 private:
  fs::path folder_;
  Json config_;
  std::map<std::string, TensorView> tensors_;
  std::vector<Shard> shards_;
};

/// UserError naming the tensor and the first bad index if a floating tensor holds NaN or Inf.
void check_finite(const TensorView& tensor, const std::string& name, const fs::path& file);

}  // namespace yopo
