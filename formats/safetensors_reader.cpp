#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/json.h"
#include "formats/safetensors.h"

namespace yopo {

namespace {

// The reference implementation's limit.
constexpr uint64_t kLongestTensorHeader = 100'000'000;
constexpr std::string_view kMetadata = "__metadata__";

/// A tensor as the header declares it.
struct HeaderEntry {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  uint64_t begin, end;  // bytes after the header
};

uint64_t little_endian(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= uint64_t(bytes[size_t(i)]) << (8 * i);
  return value;
}

uint64_t offset_of(const Json& value, const std::string& where) {
  require(value.is_number_unsigned(), "{}: data_offsets should be two integers from 0 on", where);
  return value.get<uint64_t>();
}

HeaderEntry entry_of(const std::string& name, const Json& declared, const std::string& file) {
  const std::string where = fmt::format("{}: tensor '{}'", file, printable(name));
  HeaderEntry entry{name, DType::F32, {}, 0, 0};
  require(declared.is_object(), "{}: expected an object with dtype, shape and data_offsets", where);
  for (const auto& [key, unused] : declared.items())
    require(key == "dtype" || key == "shape" || key == "data_offsets",
            "{}: unknown field '{}'; expected dtype, shape and data_offsets", where, printable(key));
  entry.dtype = dtype_from_safetensors(get_string(declared, "dtype", where), where);
  for (const Json& size : get_array(declared, "shape", where)) {
    require(size.is_number_unsigned() && size.get<uint64_t>() <= uint64_t(INT64_MAX),
            "{}: shape should be integers from 0 on, found {}", where, printable(size.dump()));
    entry.shape.push_back(size.get<int64_t>());
  }
  const Json& offsets = get_array(declared, "data_offsets", where);
  require(offsets.size() == 2, "{}: data_offsets should be two integers, found {}", where, offsets.size());
  entry.begin = offset_of(offsets[0], where);
  entry.end = offset_of(offsets[1], where);
  require(entry.begin <= entry.end, "{}: data_offsets [{}, {}] run backwards", where, entry.begin, entry.end);
  int64_t bytes = 0;
  require(!__builtin_mul_overflow(element_count(entry.shape, where), int64_t(size_of(entry.dtype)), &bytes),
          "{}: shape {} of {} has more bytes than fit", where, shape_string(entry.shape),
          safetensors_name(entry.dtype));
  require(uint64_t(bytes) == entry.end - entry.begin,
          "{}: shape {} of {} needs {} bytes, data_offsets [{}, {}] hold {}", where, shape_string(entry.shape),
          safetensors_name(entry.dtype), bytes, entry.begin, entry.end, entry.end - entry.begin);
  return entry;
}

}  // namespace

int64_t TensorView::count() const { return element_count(shape, file ? file->path().string() : "tensor"); }

std::vector<float> TensorView::floats() const {
  require(dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16 || dtype == DType::F64,
          "{}: expected a floating tensor, found {} {}", file ? file->path().string() : "tensor",
          safetensors_name(dtype), shape_string(shape));
  std::vector<float> out(static_cast<size_t>(count()));
  to_float(bytes.data(), dtype, out.size(), out.data());
  return out;
}

std::vector<int64_t> TensorView::ints() const {
  std::vector<int64_t> out(static_cast<size_t>(count()));
  const auto copy = [&]<typename T>(const T* from) { std::copy(from, from + out.size(), out.begin()); };
  switch (dtype) {
    case DType::I64:
      copy(data<int64_t>());
      break;
    case DType::I32:
      copy(data<int32_t>());
      break;
    case DType::I16:
      copy(data<int16_t>());
      break;
    case DType::I8:
      copy(data<int8_t>());
      break;
    case DType::U8:
      copy(data<uint8_t>());
      break;
    case DType::Bool:
      // Read as bytes: a bool that is neither 0 nor 1 is undefined in C++.
      for (size_t i = 0; i < out.size(); ++i) out[i] = data<uint8_t>()[i] != 0;
      break;
    default:
      fail("{}: expected an integer tensor, found {} {}", file ? file->path().string() : "tensor",
           safetensors_name(dtype), shape_string(shape));
  }
  return out;
}

SafetensorsFile SafetensorsFile::open(const fs::path& path) { return parse(MappedFile::open(path)); }

SafetensorsFile SafetensorsFile::parse(const std::shared_ptr<const MappedFile>& mapped) {
  SafetensorsFile file;
  file.path_ = mapped->path();
  const std::string where = file.path_.string();
  const auto bytes = mapped->bytes();
  require(bytes.size() >= 8, "{}: not a safetensors file: {} bytes, expected at least 8", where, bytes.size());
  const uint64_t header_size = little_endian(bytes.first(8));
  require(header_size <= kLongestTensorHeader, "{}: not a safetensors file: a header of {} bytes, expected at most {}",
          where, header_size, kLongestTensorHeader);
  require(header_size <= bytes.size() - 8, "{}: cut short: the header needs {} bytes, the file has {} after its length",
          where, header_size, bytes.size() - 8);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_size);
  require(text.starts_with('{'), "{}: not a safetensors file: the header should start with '{{'", where);
  const Json header = parse_json(text, where + ": header");
  const auto data = bytes.subspan(8 + header_size);

  std::vector<HeaderEntry> entries;
  for (const auto& [name, declared] : header.items()) {
    if (name != kMetadata) {
      entries.push_back(entry_of(name, declared, where));
      continue;
    }
    require(declared.is_object(), "{}: __metadata__ should be an object of strings", where);
    for (const auto& [key, value] : declared.items()) {
      require(value.is_string(), "{}: __metadata__ '{}' should be a string", where, printable(key));
      file.metadata_[key] = value.get<std::string>();
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t reached = 0;
  for (const HeaderEntry& entry : entries) {
    require(entry.begin == reached, "{}: tensor '{}' starts at byte {} of the data, expected {} ({})", where,
            printable(entry.name), entry.begin, reached,
            entry.begin < reached ? "tensors overlap" : "a hole lies before it");
    require(entry.end <= data.size(), "{}: tensor '{}' ends at byte {} of the data, the file has {} (cut short?)",
            where, printable(entry.name), entry.end, data.size());
    reached = entry.end;
  }
  require(reached == data.size(), "{}: {} bytes follow the last tensor", where, data.size() - reached);

  for (HeaderEntry& entry : entries) {
    TensorView view{entry.dtype, std::move(entry.shape), data.subspan(entry.begin, entry.end - entry.begin), mapped};
    if (reinterpret_cast<uintptr_t>(view.bytes.data()) % size_of(view.dtype) != 0 && !view.bytes.empty()) {
      view.file = MappedFile::copy_of(view.bytes, file.path_);
      view.bytes = view.file->bytes();
    }
    file.names_.push_back(entry.name);
    file.tensors_.emplace(std::move(entry.name), std::move(view));
  }
  return file;
}

const TensorView& SafetensorsFile::at(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) fail("{}: no tensor '{}'{}", path_.string(), printable(name), did_you_mean(name, names_));
  return it->second;
}

}  // namespace yopo
