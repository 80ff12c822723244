#include "exporters/random_checkpoint.h"

#include <algorithm>
#include <future>
#include <map>
#include <thread>

#include "core/error.h"
#include "core/progress.h"
#include "core/random.h"
#include "exporters/edit_config.h"
#include "exporters/shards.h"
#include "exporters/staging.h"
#include "formats/safetensors.h"
#include "models/family.h"

namespace yopo {
namespace {

constexpr int64_t kBufferBytes = int64_t(16) << 20;
constexpr int64_t kThreadBytes = int64_t(256) << 10;  // less is not worth a thread
constexpr float kBiasScale = 0.1f, kLayerScale = 0.1f;

uint64_t bytes_of(const StoredTensor& tensor, DType dtype) {
  return uint64_t(element_count(tensor.shape, tensor.name)) * size_of(dtype);  // below 2^62 * 4
}

/// FNV-1a. A tensor's numbers follow its name, not its place among the others.
uint64_t hash_of(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ uint8_t(c)) * 0x100000001b3u;
  return hash;
}

/// Elements [first, first + count) of one tensor, where each group of four shares a draw of 64 bits.
template <typename T>
void draw(const T* table, uint64_t stream, int64_t first, int64_t count, T* out) {
  ensure(first % 4 == 0, "a piece starts at a whole draw");
  for (int64_t i = 0; i < count; i += 4) {
    const uint64_t bits = mix64(stream + uint64_t(first + i) / 4);
    if (i + 4 <= count) {
      out[i] = table[bits & 0xffff];
      out[i + 1] = table[bits >> 16 & 0xffff];
      out[i + 2] = table[bits >> 32 & 0xffff];
      out[i + 3] = table[bits >> 48];
    } else {
      for (int64_t j = i; j < count; ++j) out[j] = table[bits >> (16 * (j - i)) & 0xffff];
    }
  }
}

/// Draws numbers in the checkpoint's type: one table each for matrices and biases.
class Generator {
 public:
  Generator(uint64_t seed, DType dtype) : seed_(seed), dtype_(dtype) {
    std::vector<float> values = normal_table();
    normal_.resize(values.size() * size_of(dtype));
    from_float(values.data(), values.size(), dtype, normal_.data());
    for (float& value : values) value *= kBiasScale;
    bias_.resize(normal_.size());
    from_float(values.data(), values.size(), dtype, bias_.data());
  }

  /// Elements [first, first + count) of the tensor into `out`; `first` is a multiple of 4.
  void fill(const StoredTensor& tensor, int64_t first, int64_t count, std::byte* out) const {
    const Fill fill = tensor.fill;
    if (fill == Fill::One || fill == Fill::LayerScale) {
      const std::vector<float> values(size_t(count), fill == Fill::One ? 1.0f : kLayerScale);
      from_float(values.data(), values.size(), dtype_, out);
      return;
    }
    const std::byte* table = (fill == Fill::Bias ? bias_ : normal_).data();
    const uint64_t stream = mix64(mix64(seed_) ^ hash_of(tensor.name));
    if (size_of(dtype_) == 2)
      draw(reinterpret_cast<const uint16_t*>(table), stream, first, count, reinterpret_cast<uint16_t*>(out));
    else
      draw(reinterpret_cast<const float*>(table), stream, first, count, reinterpret_cast<float*>(out));
  }

 private:
  uint64_t seed_;
  DType dtype_;
  std::vector<std::byte> normal_, bias_;  // [65536] elements of dtype
};

/// The same on several threads.
void fill_parallel(const Generator& generator, const StoredTensor& tensor, int64_t first, int64_t count, size_t element,
                   int threads, std::byte* out) {
  const int64_t most = std::max(int64_t(1), count * int64_t(element) / kThreadBytes);
  const int64_t workers = std::min(int64_t(threads), most);
  const int64_t share = (count / workers + 3) / 4 * 4;
  std::vector<std::jthread> running;
  for (int64_t begin = share; begin < count; begin += share)
    running.emplace_back([&, begin] {
      generator.fill(tensor, first + begin, std::min(share, count - begin), out + begin * int64_t(element));
    });
  generator.fill(tensor, first, std::min(share, count), out);
}

/// A file of the checkpoint.
struct RandomShard {
  OutputShard output;
  std::vector<StoredTensor> tensors;
};

std::vector<RandomShard> shards_of(const std::vector<StoredTensor>& tensors, DType dtype, uint64_t shard_size) {
  std::vector<RandomShard> shards;
  for (const StoredTensor& tensor : tensors) {
    const uint64_t bytes = bytes_of(tensor, dtype);
    const bool full = !shards.empty() && shard_size > 0 && shards.back().output.bytes + bytes > shard_size;
    if (shards.empty() || full) shards.emplace_back();
    shards.back().output.names.push_back(tensor.name);
    shards.back().output.bytes += bytes;
    shards.back().tensors.push_back(tensor);
  }
  for (size_t i = 0; i < shards.size(); ++i) shards[i].output.file = shard_name(i, shards.size());
  return shards;
}

void write_shard(const RandomShard& shard, const Generator& generator, DType dtype, int threads, const fs::path& folder,
                 const std::function<void(size_t)>& count) {
  std::vector<TensorDeclaration> declared;
  for (const StoredTensor& tensor : shard.tensors) declared.push_back({tensor.name, dtype, tensor.shape});
  // transformers refuses files without this entry.
  SafetensorsWriter writer(folder / shard.output.file, declared, {{"format", "pt"}});

  struct Piece {
    const StoredTensor* tensor;
    int64_t first, count;
  };
  std::vector<Piece> pieces;
  const size_t element = size_of(dtype);
  const int64_t most = kBufferBytes / int64_t(element);
  for (const StoredTensor& tensor : shard.tensors) {
    const int64_t elements = element_count(tensor.shape, tensor.name);
    for (int64_t first = 0; first < elements; first += most)
      pieces.push_back({&tensor, first, std::min(most, elements - first)});
  }

  // One buffer is filled while the other is written. The future comes last, so that it ends before what it uses does.
  std::vector<std::byte> buffers[2] = {std::vector<std::byte>(kBufferBytes), std::vector<std::byte>(kBufferBytes)};
  const auto make = [&](size_t i) {
    fill_parallel(generator, *pieces[i].tensor, pieces[i].first, pieces[i].count, element, threads,
                  buffers[i % 2].data());
  };
  std::future<void> next = std::async(std::launch::async, make, 0);
  for (size_t i = 0; i < pieces.size(); ++i) {
    next.get();
    if (i + 1 < pieces.size()) next = std::async(std::launch::async, make, i + 1);
    const size_t bytes = size_t(pieces[i].count) * element;
    writer.append(buffers[i % 2].data(), bytes);
    count(bytes);
  }
  writer.finish();
}

void check_output(const fs::path& output) {
  std::error_code code;
  if (!fs::exists(fs::symlink_status(output, code))) return;
  const bool folder = fs::is_directory(output, code);
  require(folder, "{}: exists and is no folder{}", output.string(), code ? ": " + code.message() : "");
  const bool empty = fs::is_empty(output, code);
  if (code) fail("cannot read {}: {}", output.string(), code.message());
  require(empty, "{}: is not empty; remove it or choose another name", output.string());
}

void check_room(const fs::path& output, uint64_t bytes) {
  std::error_code code;
  fs::path above = fs::absolute(output, code).lexically_normal();
  while (!fs::exists(above, code) && above.has_relative_path()) above = above.parent_path();
  const fs::space_info space = fs::space(above, code);
  if (code) return;  // the file system cannot tell; the writes will
  require(bytes <= space.available, "cannot write {}: its tensors need {} bytes, {} are free on its disk",
          output.string(), bytes, space.available);
}

}  // namespace

RandomCheckpoint write_random_checkpoint(const fs::path& config_path, const fs::path& output,
                                         const RandomOptions& options) {
  const fs::path file = fs::is_directory(config_path) ? config_path / "config.json" : config_path;
  const std::string where = file.string();
  Json config = read_json(file);
  ModelSpec spec = spec_from_config(config, where);
  require(!has(config, "yopo"), "{}: has 'yopo': expected the config.json of a plain dense checkpoint", where);
  require(options.layers >= 0, "--layers: expected 0 (all) or more, found {}", options.layers);
  if (options.layers > 0) {
    require(options.layers <= spec.text.num_hidden_layers, "--layers {}: {} has {} decoder layers", options.layers,
            where, spec.text.num_hidden_layers);
    cut_layers(config, family_of(spec), options.layers);
    spec = spec_from_config(config, where);
    require(spec.text.num_hidden_layers == options.layers, "{}: its number of decoder layers cannot be changed", where);
  }
  const DType dtype = options.dtype ? *options.dtype : stored_type(config, where);
  require(dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16, "dtype: expected fp32, fp16 or bf16");
  set_stored_type(config, family_of(spec), dtype);

  const std::vector<StoredTensor> tensors = stored_tensors(spec);
  RandomCheckpoint result;
  for (const StoredTensor& tensor : tensors) {
    result.parameters += element_count(tensor.shape, tensor.name);
    const bool fits = !__builtin_add_overflow(result.bytes, bytes_of(tensor, dtype), &result.bytes);
    require(fits && result.bytes <= uint64_t(INT64_MAX), "{}: the tensors have more bytes than fit", where);
  }
  check_output(output);
  check_room(output, result.bytes);

  const std::vector<RandomShard> shards = shards_of(tensors, dtype, options.shard_size);
  result.files = shards.size();
  const int threads = options.threads > 0 ? options.threads : std::max(1, int(std::thread::hardware_concurrency()));
  const Generator generator(options.seed, dtype);
  constexpr uint64_t unit = 1'000'000;
  Progress progress("random weights", int64_t(result.bytes / unit), "MB");
  uint64_t written = 0;
  const auto count = [&](size_t bytes) {
    const uint64_t before = written / unit;
    written += bytes;
    progress.tick(int64_t(written / unit - before));
  };
  StagingFolder staging(output);
  std::vector<OutputShard> files;
  for (const RandomShard& shard : shards) {
    write_shard(shard, generator, dtype, threads, staging.path(), count);
    files.push_back(shard.output);
  }
  if (files.size() > 1) write_text(staging.path() / "model.safetensors.index.json", index_text(files));
  write_json(staging.path() / "config.json", config);
  staging.publish();
  progress.finish();
  return result;
}

}  // namespace yopo
