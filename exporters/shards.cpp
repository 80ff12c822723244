#include "exporters/shards.h"

#include <algorithm>
#include <map>

#include "core/error.h"

namespace yopo {

std::string shard_name(size_t index, size_t count) {
  return count == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

std::vector<OutputShard> plan_shards(const Checkpoint& checkpoint, uint64_t shard_size) {
  std::vector<OutputShard> shards;
  for (const Checkpoint::Shard& source : checkpoint.shards()) {
    bool first = true;
    for (const std::string& name : source.names) {
      const uint64_t bytes = checkpoint.at(name).bytes.size();
      const bool next = shard_size == 0 ? first : !shards.empty() && shards.back().bytes + bytes > shard_size;
      if (shards.empty() || next) shards.emplace_back();
      first = false;
      shards.back().names.push_back(name);
      shards.back().bytes += bytes;
    }
  }
  require(!shards.empty(), "{}: the checkpoint holds no tensors", checkpoint.folder().string());
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].file = shard_name(i, shards.size());
    std::stable_sort(shards[i].names.begin(), shards[i].names.end(), [&](const std::string& a, const std::string& b) {
      return size_of(checkpoint.at(a).dtype) > size_of(checkpoint.at(b).dtype);
    });
  }
  return shards;
}

std::string index_text(const std::vector<OutputShard>& shards) {
  uint64_t total = 0;
  std::map<std::string, std::string> file_of;
  for (const OutputShard& shard : shards) {
    total += shard.bytes;
    for (const std::string& name : shard.names) file_of[name] = shard.file;
  }
  Json index = Json::object();
  index["metadata"]["total_size"] = total;
  index["weight_map"] = Json::object();
  // Straight into the container: the ordered object's operator[] looks through all keys each time.
  auto& map = static_cast<Json::object_t::Container&>(index["weight_map"].get_ref<Json::object_t&>());
  for (const auto& [name, file] : file_of) map.emplace_back(name, file);
  return index.dump(2) + "\n";
}

}  // namespace yopo
