#include <algorithm>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "formats/safetensors.h"

namespace yopo {

namespace {

constexpr uint64_t kBypassFrom = uint64_t(64) << 20;  // smaller files stay in the page cache

uint64_t bytes_of(const TensorDeclaration& tensor, const std::string& where) {
  int64_t bytes = 0;
  require(!__builtin_mul_overflow(element_count(tensor.shape, where), int64_t(size_of(tensor.dtype)), &bytes),
          "{}: tensor '{}' {} has more bytes than fit", where, printable(tensor.name), shape_string(tensor.shape));
  return uint64_t(bytes);
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const fs::path& path, const std::vector<TensorDeclaration>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path) {
  Json header = Json::object();
  if (!metadata.empty()) {
    Json& object = header["__metadata__"] = Json::object();
    for (const auto& [key, value] : metadata) object[key] = value;
  }
  std::set<std::string_view> names{"__metadata__"};
  auto& fields = static_cast<Json::object_t::Container&>(header.get_ref<Json::object_t&>());
  for (const TensorDeclaration& tensor : tensors) {
    ensure(names.insert(tensor.name).second, "a tensor declared twice or named __metadata__");
    const uint64_t begin = expected_;
    require(!__builtin_add_overflow(expected_, bytes_of(tensor, path.string()), &expected_),
            "{}: the tensors have more bytes than fit", path.string());
    Json entry = Json::object();
    entry["dtype"] = safetensors_name(tensor.dtype);
    entry["shape"] = tensor.shape;
    entry["data_offsets"] = {begin, expected_};
    fields.emplace_back(tensor.name, std::move(entry));
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[size_t(i)] = char(uint64_t(text.size()) >> (8 * i));
  if (expected_ >= kBypassFrom) file_.bypass_cache();
  file_.reserve(8 + text.size() + expected_);
  file_.write(length);
  file_.write(text);
}

void SafetensorsWriter::append(const void* data, size_t size) {
  ensure(size <= expected_ - written_, "more tensor bytes appended than declared");
  file_.write(data, size);
  written_ += size;
}

void SafetensorsWriter::finish() {
  ensure(written_ == expected_, "fewer tensor bytes appended than declared");
  file_.commit();
}

OwnedTensor OwnedTensor::of(std::vector<int64_t> shape, const std::vector<float>& values) {
  ensure(element_count(shape, "tensor") == int64_t(values.size()), "tensor values do not fill their shape");
  const auto bytes = std::as_bytes(std::span(values));
  return {DType::F32, std::move(shape), {bytes.begin(), bytes.end()}};
}

OwnedTensor OwnedTensor::of(std::vector<int64_t> shape, const std::vector<int64_t>& values) {
  ensure(element_count(shape, "tensor") == int64_t(values.size()), "tensor values do not fill their shape");
  const auto bytes = std::as_bytes(std::span(values));
  return {DType::I64, std::move(shape), {bytes.begin(), bytes.end()}};
}

void write_safetensors(const fs::path& path, const std::map<std::string, OwnedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorDeclaration> declared;
  for (const auto& [name, tensor] : tensors) {
    declared.push_back({name, tensor.dtype, tensor.shape});
    ensure(bytes_of(declared.back(), path.string()) == tensor.bytes.size(), "tensor bytes do not fill their shape");
  }
  std::stable_sort(declared.begin(), declared.end(), [](const TensorDeclaration& a, const TensorDeclaration& b) {
    return size_of(a.dtype) > size_of(b.dtype);
  });
  SafetensorsWriter writer(path, declared, metadata);
  for (const TensorDeclaration& tensor : declared) {
    const OwnedTensor& owned = tensors.at(tensor.name);
    writer.append(owned.bytes.data(), owned.bytes.size());
  }
  writer.finish();
}

}  // namespace yopo
