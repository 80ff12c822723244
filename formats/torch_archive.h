// What a file of torch.save holds: its pickle, and the tensors that the pickle's values stand for.
#pragma once

#include <map>

#include "formats/pickle.h"
#include "formats/safetensors.h"
#include "formats/zip.h"

namespace yopo {

/// The zip file, its pickle and its storages. Entries: PREFIX/data.pkl, PREFIX/data/KEY for each storage,
/// PREFIX/byteorder since PyTorch 2.1. For one thread: tensor() keeps copies.
class TorchArchive {
 public:
  /// UserError for a file of an older version, none of torch.save, a big-endian one, and a bad pickle.
  explicit TorchArchive(std::shared_ptr<const MappedFile> file);
  const Pickle& pickle() const { return pickle_; }
  bool is_tensor(PickleId id) const { return pickle_[id].kind == PickleValue::Kind::Call; }
  /// The tensor that a call of _rebuild_tensor_v2 or _rebuild_parameter stands for; `where` begins every message.
  TensorView tensor(PickleId id, const std::string& where);
  const std::string& where() const { return where_; }

 private:
  struct Storage {
    DType dtype;
    int64_t count;  // elements
    std::span<const std::byte> bytes;
  };
  Storage storage_of(PickleId id, const std::string& where) const;
  std::vector<int64_t> numbers_of(PickleId id, std::string_view what, const std::string& where) const;
  TensorView view_of(const std::vector<PickleId>& arguments, const std::string& where);
  /// A view of `source` in row-major order through a copy.
  TensorView copy_of(DType dtype, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
                     std::span<const std::byte> source, const std::string& where);

  std::string where_, prefix_;
  ZipFile zip_;
  Pickle pickle_;
  // Copies made, by where they begin, type, shape and strides: tied tensors share theirs.
  std::map<std::pair<const std::byte*, std::vector<int64_t>>, TensorView> copies_;
  uint64_t copied_ = 0;  // bytes
};

}  // namespace yopo
