// Head masks as they are published: .npy arrays and files of torch.save.
#include "compress/make_plan.h"
#include "core/error.h"
#include "formats/npy.h"
#include "formats/torch_file.h"

namespace yopo {
namespace {

bool begins_with(const fs::path& path, std::string_view magic) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  return bytes.size() >= magic.size() &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()), magic.size()) == magic;
}

// A mask of integers, or of floats that are all 0 or 1.
std::vector<int64_t> flags_of(const TensorView& tensor, const std::string& where) {
  const bool floating = tensor.dtype == DType::F32 || tensor.dtype == DType::F16 || tensor.dtype == DType::BF16 ||
                        tensor.dtype == DType::F64;
  if (!floating) return tensor.ints();
  std::vector<int64_t> flags;
  for (const float value : tensor.floats()) {
    require(value == 0 || value == 1, "{}: element {} is {}; a mask holds only 0 and 1", where, flags.size(), value);
    flags.push_back(value == 1);
  }
  return flags;
}

// One tensor, or one for each layer: stacked, as torch.stack does.
NpyArray read_torch_mask(const fs::path& path) {
  const std::vector<TensorView> tensors = read_torch_tensors(path);
  const std::string where = path.string();
  require(!tensors.empty(), "{}: an empty list; expected a head mask", where);
  if (tensors.size() == 1 && tensors[0].shape.size() != 1) return {tensors[0].shape, flags_of(tensors[0], where)};
  NpyArray stacked{{int64_t(tensors.size())}, {}};
  stacked.shape.insert(stacked.shape.end(), tensors[0].shape.begin(), tensors[0].shape.end());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string element = fmt::format("{}: element {}", where, i);
    require(tensors[i].shape == tensors[0].shape, "{}: shape {}, but element 0 has {}", element,
            shape_string(tensors[i].shape), shape_string(tensors[0].shape));
    const std::vector<int64_t> flags = flags_of(tensors[i], element);
    stacked.values.insert(stacked.values.end(), flags.begin(), flags.end());
  }
  return stacked;
}

}  // namespace

HeadMask read_head_mask(const fs::path& path, int64_t layers, int64_t heads) {
  const bool torch = begins_with(path, "PK") || begins_with(path, "\x80");
  const NpyArray array = torch ? read_torch_mask(path) : read_npy(path);
  require(array.shape == std::vector<int64_t>{layers, heads},
          "{}: expected a head mask of shape {} ({} layers, {} heads), found {}", path.string(),
          shape_string(std::vector<int64_t>{layers, heads}), layers, heads, shape_string(array.shape));
  HeadMask mask(size_t(layers), std::vector<uint8_t>(size_t(heads), 0));
  for (size_t i = 0; i < array.values.size(); ++i) {
    const int64_t value = array.values[i];
    require(value == 0 || value == 1, "{}: layer {}, head {}: expected 0 or 1, found {}", path.string(),
            i / size_t(heads), i % size_t(heads), value);
    mask[i / size_t(heads)][i % size_t(heads)] = uint8_t(value);
  }
  return mask;
}

}  // namespace yopo
