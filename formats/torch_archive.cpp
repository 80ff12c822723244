#include "formats/torch_archive.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace yopo {

namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kPickle = "/data.pkl";
constexpr uint64_t kLargestPickle = uint64_t(64) << 20;
constexpr size_t kMostTorchDimensions = 64;

struct StorageType {
  std::string_view name;
  DType dtype;
};
constexpr StorageType kStorages[] = {{"torch.FloatStorage", DType::F32},     {"torch.HalfStorage", DType::F16},
                                     {"torch.BFloat16Storage", DType::BF16}, {"torch.DoubleStorage", DType::F64},
                                     {"torch.LongStorage", DType::I64},      {"torch.IntStorage", DType::I32},
                                     {"torch.ShortStorage", DType::I16},     {"torch.CharStorage", DType::I8},
                                     {"torch.ByteStorage", DType::U8},       {"torch.BoolStorage", DType::Bool}};

/// Says of a file that is no zip file what it is, where a person can act on it.
void check_kind(std::span<const std::byte> bytes, const std::string& where) {
  const std::string_view text = text_of(bytes);
  if (text.starts_with("PK")) return;
  // The pickle of a magic number opens files before PyTorch 1.6.
  require(!text.starts_with(std::string_view("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14)),
          "{}: saved by PyTorch before 1.6 (or with its old serialisation), which is not read; convert it: "
          "torch.save(torch.load(FILE), FILE) with a newer version, or to safetensors",
          where);
  require(!text.starts_with("\x80"), "{}: a bare pickle; expected a file of torch.save (PyTorch 1.6 or later)", where);
  fail("{}: not a file of torch.save: it does not begin as a zip file", where);
}

std::string prefix_of(const ZipFile& zip, const std::string& where) {
  std::string found;
  for (const auto& [name, unused] : zip.entries()) {
    if (!name.ends_with(kPickle) || name.find('/') != name.size() - kPickle.size()) continue;
    require(found.empty(), "{}: two pickles, {}/data.pkl and {}", where, printable(found), printable(name));
    found = name.substr(0, name.size() - kPickle.size());
  }
  require(!found.empty(), "{}: not a file of torch.save: no entry NAME/data.pkl", where);
  return found;
}

bool is_contiguous(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  int64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0; expected *= shape[i])
    if (shape[i] != 1 && strides[i] != expected) return false;
  return true;
}

/// Elements from the first to one past the last, for a tensor that is not empty.
int64_t extent(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides, const std::string& where) {
  int64_t last = 0, step = 0;
  for (size_t i = 0; i < shape.size(); ++i)
    require(!__builtin_mul_overflow(shape[i] - 1, strides[i], &step) && !__builtin_add_overflow(last, step, &last) &&
                last < INT64_MAX,
            "{}: sizes {} and strides {} lead past 63 bits", where, shape_string(shape), shape_string(strides));
  return last + 1;
}

/// Gathers a strided tensor into row-major order; `width`: bytes of an element.
void gather(const std::byte* from, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides, size_t width,
            std::vector<std::byte>& to) {
  std::vector<int64_t> position(shape.size(), 0);
  int64_t element = 0;  // offset of the current one
  for (size_t at = 0; at < to.size(); at += width) {
    std::memcpy(to.data() + at, from + size_t(element) * width, width);
    for (size_t d = position.size(); d-- > 0;) {
      element += strides[d];
      if (++position[d] < shape[d]) break;
      element -= strides[d] * shape[d];
      position[d] = 0;
    }
  }
}

}  // namespace

TorchArchive::TorchArchive(std::shared_ptr<const MappedFile> file) : where_(file->path().string()) {
  check_kind(file->bytes(), where_);
  zip_ = ZipFile::parse(std::move(file));
  prefix_ = prefix_of(zip_, where_);
  if (const std::string name = prefix_ + "/byteorder"; zip_.contains(name))
    require(text_of(zip_.checked(name)) == "little", "{}: byte order '{}'; only little-endian files are read", where_,
            printable(text_of(zip_.at(name))));
  const std::string name = prefix_ + std::string(kPickle);
  require(zip_.at(name).size() <= kLargestPickle, "{}: a pickle of {} bytes; expected at most {}", where_,
          zip_.at(name).size(), kLargestPickle);
  pickle_ = Pickle::parse(zip_.checked(name), where_ + ": data.pkl");
}

std::vector<int64_t> TorchArchive::numbers_of(PickleId id, std::string_view what, const std::string& where) const {
  const PickleValue& value = pickle_[id];
  require(value.kind == Kind::Tuple && value.items.size() <= kMostTorchDimensions,
          "{}: {} should be a tuple of at most {} integers, found {}", where, what, kMostTorchDimensions,
          describe(value));
  std::vector<int64_t> numbers;
  for (const PickleId item : value.items) {
    require(pickle_[item].kind == Kind::Int && pickle_[item].integer >= 0,
            "{}: {} should be integers from 0 on, found {}", where, what,
            pickle_[item].kind == Kind::Int ? fmt::format("{}", pickle_[item].integer) : describe(pickle_[item]));
    numbers.push_back(pickle_[item].integer);
  }
  return numbers;
}

TorchArchive::Storage TorchArchive::storage_of(PickleId id, const std::string& where) const {
  const PickleValue& value = pickle_[id];
  require(value.kind == Kind::Persistent, "{}: expected a storage, found {}", where, describe(value));
  const PickleValue& key = pickle_[value.items.at(0)];
  // ("storage", type, key, device, elements)
  const auto part = [&](size_t i) -> const PickleValue& { return pickle_[key.items[i]]; };
  require(key.kind == Kind::Tuple && key.items.size() == 5 && part(0).kind == Kind::Text && part(0).text == "storage" &&
              part(1).kind == Kind::Global && part(2).kind == Kind::Text && part(4).kind == Kind::Int,
          "{}: its storage is not (\"storage\", type, key, device, elements)", where);
  const auto type = std::find_if(std::begin(kStorages), std::end(kStorages),
                                 [&](const StorageType& known) { return known.name == part(1).text; });
  require(type != std::end(kStorages), "{}: elements of {} are not supported", where, part(1).text);
  const std::string entry = prefix_ + "/data/" + part(2).text;
  require(zip_.contains(entry), "{}: its storage '{}' is not in the file", where, printable(part(2).text));
  const int64_t count = part(4).integer;
  const auto bytes = zip_.at(entry);
  require(
      count >= 0 && uint64_t(count) == bytes.size() / size_of(type->dtype) && bytes.size() % size_of(type->dtype) == 0,
      "{}: its storage '{}' should hold {} elements of {} bytes, found {} bytes", where, printable(part(2).text), count,
      size_of(type->dtype), bytes.size());
  return {type->dtype, count, bytes};
}

TensorView TorchArchive::copy_of(DType dtype, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
                                 std::span<const std::byte> source, const std::string& where) {
  std::vector<int64_t> what{int64_t(dtype)};
  what.insert(what.end(), shape.begin(), shape.end());
  what.insert(what.end(), strides.begin(), strides.end());
  auto& made = copies_[{source.data(), std::move(what)}];
  if (made.file) return made;
  std::vector<std::byte> ordered(size_t(element_count(shape, where)) * size_of(dtype));
  // Views of one storage in ever new orders would let a small file fill the memory.
  copied_ += ordered.size();
  require(copied_ <= zip_.file()->bytes().size(), "{}: the tensors are views that hold more than the file", where);
  gather(source.data(), shape, strides, size_of(dtype), ordered);
  auto memory = MappedFile::copy_of(ordered, zip_.file()->path());
  made = {dtype, shape, memory->bytes(), memory};
  return made;
}

TensorView TorchArchive::view_of(const std::vector<PickleId>& arguments, const std::string& where) {
  // (storage, offset, sizes, strides, requires_grad, hooks[, metadata])
  require(arguments.size() == 6 || arguments.size() == 7, "{}: made of {} values, expected 6 or 7", where,
          arguments.size());
  if (arguments.size() == 7) {
    // Marks such as "neg": the elements are not the values.
    const PickleValue& marks = pickle_[arguments[6]];
    require(marks.kind == Kind::None || (marks.kind == Kind::Dict && marks.items.empty()),
            "{}: a conjugated or negated view; save a copy of it (resolve_conj, resolve_neg)", where);
  }
  const Storage storage = storage_of(arguments[0], where);
  const PickleValue& first = pickle_[arguments[1]];
  require(first.kind == Kind::Int && first.integer >= 0 && first.integer <= storage.count,
          "{}: its offset should lie in its storage of {} elements, found {}", where, storage.count,
          first.kind == Kind::Int ? fmt::format("{}", first.integer) : describe(first));
  const std::vector<int64_t> shape = numbers_of(arguments[2], "sizes", where);
  const std::vector<int64_t> strides = numbers_of(arguments[3], "strides", where);
  require(shape.size() == strides.size(), "{}: {} sizes and {} strides", where, shape.size(), strides.size());
  const int64_t count = element_count(shape, where), room = storage.count - first.integer;
  if (count == 0) return {storage.dtype, shape, {}, zip_.file()};
  const int64_t reached = extent(shape, strides, where);
  require(reached <= room && count <= storage.count,
          "{}: sizes {} and strides {} need {} elements, its storage has {} from its offset {} on", where,
          shape_string(shape), shape_string(strides), std::max(reached, count), room, first.integer);
  const size_t width = size_of(storage.dtype);
  const auto bytes = storage.bytes.subspan(size_t(first.integer) * width, size_t(reached) * width);
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % width == 0;
  if (aligned && is_contiguous(shape, strides)) return {storage.dtype, shape, bytes, zip_.file()};
  return copy_of(storage.dtype, shape, strides, bytes, where);
}

TensorView TorchArchive::tensor(PickleId id, const std::string& where) {
  const auto arguments = [&](PickleId call) -> const std::vector<PickleId>& {
    return pickle_[pickle_[call].items.at(0)].items;
  };
  require(is_tensor(id), "{}: expected a tensor, found {}", where, describe(pickle_[id]));
  if (pickle_[id].text == "torch._utils._rebuild_parameter") {  // (tensor, requires_grad, hooks)
    require(arguments(id).size() == 3 && is_tensor(arguments(id)[0]), "{}: a parameter that is not made of a tensor",
            where);
    id = arguments(id)[0];
  }
  require(pickle_[id].text == "torch._utils._rebuild_tensor_v2", "{}: a parameter made of a parameter", where);
  return view_of(arguments(id), where);
}

}  // namespace yopo
