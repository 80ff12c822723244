// Files of torch.save: a checked reader over a mapping. Nothing is unpickled: see formats/pickle.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/safetensors.h"

namespace yopo {

/// One file of torch.save (PyTorch 1.6 and later: a zip file) that holds a dict of tensors by name, or a dict with
/// exactly one such dict in it ({"model": {...}, "epoch": 3}). Everything is checked before it is trusted: the zip
/// container (formats/zip.h), the pickle (formats/pickle.h), each storage's size against its entry, each tensor's
/// offset, sizes and strides against its storage. Tensors are viewed where they lie; one that is not contiguous or not
/// aligned to its element is copied into order, in all at most as many bytes as the file has. Tensors that share a
/// storage (tied weights) are views of the same bytes. Not read: files of older versions, big-endian ones, tensors
/// other than dense ones of the types of DType. Const members may be called from several threads at once.
class TorchFile {
 public:
  /// UserError naming the file and the tensor for every defect.
  static TorchFile open(const fs::path& path);
  /// The same over a mapping that is already there.
  static TorchFile parse(std::shared_ptr<const MappedFile> file);
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  /// Names in the order of the dict, which is the order of their data.
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::map<std::string, TensorView> tensors_;
  std::vector<std::string> names_;
};

/// A file of torch.save that holds a tensor, or a list or tuple of tensors, in their order. UserError as TorchFile's.
std::vector<TensorView> read_torch_tensors(const fs::path& path);

}  // namespace yopo
