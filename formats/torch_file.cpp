#include "formats/torch_file.h"

#include "core/error.h"
#include "formats/torch_archive.h"

namespace yopo {

namespace {

using Kind = PickleValue::Kind;

bool holds_tensors(const TorchArchive& archive, const PickleValue& value) {
  if (value.kind != Kind::Dict) return false;
  for (size_t i = 1; i < value.items.size(); i += 2)
    if (archive.is_tensor(value.items[i])) return true;
  return false;
}

/// The dict of tensors: the root, or the only one in it.
const PickleValue& tensors_in(const TorchArchive& archive) {
  const Pickle& pickle = archive.pickle();
  const PickleValue& root = pickle.root();
  require(root.kind == Kind::Dict, "{}: expected a dict of tensors, found {}", archive.where(), describe(root));
  if (holds_tensors(archive, root)) return root;
  const PickleValue* found = nullptr;
  std::string key;
  for (size_t i = 0; i < root.items.size(); i += 2) {
    const PickleValue &name = pickle[root.items[i]], &value = pickle[root.items[i + 1]];
    if (!holds_tensors(archive, value)) continue;
    const std::string shown = name.kind == Kind::Text ? printable(name.text) : describe(name);
    require(found == nullptr, "{}: tensors under '{}' and under '{}'; expected one dict of tensors", archive.where(),
            key, shown);
    found = &value;
    key = shown;
  }
  require(found != nullptr, "{}: a dict without tensors; expected tensors by name", archive.where());
  return *found;
}

}  // namespace

TorchFile TorchFile::open(const fs::path& path) { return parse(MappedFile::open(path)); }

TorchFile TorchFile::parse(std::shared_ptr<const MappedFile> mapped) {
  TorchArchive archive(std::move(mapped));
  TorchFile file;
  const PickleValue& dict = tensors_in(archive);
  for (size_t i = 0; i < dict.items.size(); i += 2) {
    const PickleValue& key = archive.pickle()[dict.items[i]];
    require(key.kind == Kind::Text, "{}: a tensor's name should be a text, found {}", archive.where(), describe(key));
    // A safetensors file, what an export writes, cannot name a tensor so.
    require(!key.text.empty() && key.text != "__metadata__", "{}: '{}' is no name for a tensor", archive.where(),
            key.text);
    TensorView view =
        archive.tensor(dict.items[i + 1], fmt::format("{}: tensor '{}'", archive.where(), printable(key.text)));
    require(file.tensors_.emplace(key.text, std::move(view)).second, "{}: two tensors '{}'", archive.where(),
            printable(key.text));
    file.names_.push_back(key.text);
  }
  return file;
}

std::vector<TensorView> read_torch_tensors(const fs::path& path) {
  TorchArchive archive(MappedFile::open(path));
  const Pickle& pickle = archive.pickle();
  if (archive.is_tensor(pickle.root_id())) return {archive.tensor(pickle.root_id(), archive.where())};
  const PickleValue& root = pickle.root();
  require(root.kind == Kind::List || root.kind == Kind::Tuple, "{}: expected a tensor or a list of tensors, found {}",
          archive.where(), describe(root));
  std::vector<TensorView> tensors;
  for (size_t i = 0; i < root.items.size(); ++i)
    tensors.push_back(archive.tensor(root.items[i], fmt::format("{}: element {}", archive.where(), i)));
  return tensors;
}

}  // namespace yopo
