#include "models/tensors.h"

#include <set>

#include "models/family.h"

namespace yopo {

namespace {

/// How often the roles of a place stand in a model; -1: once, without a number.
int64_t times(const ModelSpec& spec, TensorPlace place) {
  switch (place) {
    case TensorPlace::DecoderLayer:
      return spec.text.num_hidden_layers;
    case TensorPlace::VisionLayer:
      return spec.vision.layers_run();
    case TensorPlace::Tap:
      return spec.deep_taps();
    default:
      return -1;
  }
}

const std::string& prefix_of(const TensorLayout& layout, TensorPlace place) {
  switch (place) {
    case TensorPlace::Decoder:
    case TensorPlace::DecoderLayer:
      return layout.decoder;
    case TensorPlace::Head:
      return layout.head;
    case TensorPlace::Vision:
    case TensorPlace::VisionLayer:
    case TensorPlace::Tap:
      return layout.vision;
    case TensorPlace::Projector:
      return layout.projector;
    case TensorPlace::Root:
      return layout.root;
  }
  throw InternalError("a place without a prefix");
}

const TensorName& name_of(const TensorLayout& layout, Role role) {
  for (const TensorName& name : layout.names)
    if (name.role == role) return name;
  throw InternalError(fmt::format("layout {} has no name for role {}", layout.name, int(role)));
}

std::string with_layer(std::string name, int64_t layer) {
  if (const size_t at = name.find("{}"); at != std::string::npos) name.replace(at, 2, std::to_string(layer));
  return name;
}

/// Fills the table in order. Presence and shape of a role are declared; its name and place are the layout's.
class Builder {
 public:
  explicit Builder(const ModelSpec& spec) : spec_(spec), layout_(layout_of(spec)) {}

  void add(const DeclaredTensor& declared, int64_t layer) {
    if (declared.present && !declared.present(spec_)) return;
    if (declared.role == Role::LmHead && spec_.text.tie_word_embeddings) {  // a checkpoint may store it twice or not
      table_.push_back(find_slot(table_, Role::EmbedTokens));
      table_.back().role = Role::LmHead;
      table_.back().tied = true;
      return;
    }
    const TensorName& name = name_of(layout_, declared.role);
    TensorSlot slot{declared.role,
                    declared.place,
                    layer,
                    prefix_of(layout_, declared.place) + with_layer(name.name, layer),
                    declared.shape(spec_),
                    declared.rows,
                    declared.columns,
                    {},
                    {},
                    declared.fill,
                    false};
    slot.stored.assign(size_t(name.leading_ones), 1);
    slot.stored.insert(slot.stored.end(), slot.shape.begin(), slot.shape.end());
    table_.push_back(std::move(slot));
    if (name.fused != Fused::No) share(name.fused);
  }

  std::vector<TensorSlot> take() { return std::move(table_); }

 private:
  /// The roles at the table's end that have the last one's name lie in one tensor: says where, for those so far.
  void share(Fused fused) {
    size_t first = table_.size() - 1;
    while (first > 0 && table_[first - 1].name == table_.back().name) --first;
    int64_t all = 0, before = 0;
    for (size_t i = first; i < table_.size(); ++i) all += table_[i].shape[0];
    const int64_t groups = fused == Fused::KvGroups ? spec_.text.num_key_value_heads : 1;
    for (size_t i = first; i < table_.size(); ++i) {
      TensorSlot& slot = table_[i];
      const int64_t run = slot.shape[0] / groups;
      slot.stored[0] = all;
      slot.part = {before, run, all / groups};
      before += run;
    }
  }

  const ModelSpec& spec_;
  const TensorLayout& layout_;
  std::vector<TensorSlot> table_;
};

}  // namespace

std::vector<TensorSlot> tensor_table(const ModelSpec& spec) {
  Builder table(spec);
  const std::span<const DeclaredTensor> declared = declared_tensors();
  for (size_t first = 0; first < declared.size();) {
    const TensorPlace place = declared[first].place;
    const int64_t layers = times(spec, place);
    size_t last = first + 1;
    while (layers >= 0 && last < declared.size() && declared[last].place == place) ++last;
    if (layers >= 0) {
      for (int64_t layer = 0; layer < layers; ++layer)
        for (size_t i = first; i < last; ++i) table.add(declared[i], layer);
    } else {
      table.add(declared[first], -1);
    }
    first = last;
  }
  return table.take();
}

const TensorSlot* slot_if(const std::vector<TensorSlot>& table, Role role, int64_t layer) {
  for (const TensorSlot& slot : table)
    if (slot.role == role && slot.layer == layer) return &slot;
  return nullptr;
}

const TensorSlot& find_slot(const std::vector<TensorSlot>& table, Role role, int64_t layer) {
  if (const TensorSlot* slot = slot_if(table, role, layer)) return *slot;
  throw InternalError(fmt::format("the tensor table has no role {} in layer {}", int(role), layer));
}

std::vector<StoredTensor> stored_tensors(const ModelSpec& spec) {
  std::vector<StoredTensor> stored;
  std::set<std::string> seen;
  for (const TensorSlot& slot : tensor_table(spec))
    if (seen.insert(slot.name).second) stored.push_back({slot.name, slot.stored, slot.fill});
  return stored;
}

void check_tensors(const Checkpoint& checkpoint, const std::vector<TensorSlot>& table) {
  for (const TensorSlot& slot : table) {
    const TensorView& view = checkpoint.at(slot.name, slot.stored);
    const bool floating = view.dtype == DType::F32 || view.dtype == DType::F16 || view.dtype == DType::BF16;
    require(floating, "{}: tensor {}: expected F32, F16 or BF16, found {}", checkpoint.folder().string(), slot.name,
            safetensors_name(view.dtype));
  }
}

}  // namespace yopo
