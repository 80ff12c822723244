#include "runtime/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <map>
#include <type_traits>

#include "core/error.h"
#include "models/patches.h"
#include "runtime/layer_slices.h"
#include "runtime/weight_builder.h"

namespace yopo::runtime {
namespace {

bool is_identity(const std::vector<int64_t>& order) {
  for (size_t i = 0; i < order.size(); ++i)
    if (order[i] != int64_t(i)) return false;
  return true;
}

/// Element indices of heads in their order: [heads * head_dim].
std::vector<int64_t> expand(const std::vector<int64_t>& heads, int64_t head_dim) {
  std::vector<int64_t> indices;
  indices.reserve(heads.size() * size_t(head_dim));
  for (const int64_t head : heads)
    for (int64_t i = 0; i < head_dim; ++i) indices.push_back(head * head_dim + i);
  return indices;
}

/// Reads rows of a tensor as `type`; a thread's own.
class RowReader {
 public:
  RowReader(DType type, bool check, int64_t columns)
      : type_(type), check_(check), row_(size_t(columns)), ordered_(size_t(columns)) {}

  /// Row `from` with columns in order (null: its own) to `to`.
  void read(const TensorSource& source, int64_t from, const std::vector<int64_t>* column_order, void* to) {
    const auto columns = size_t(source.columns);
    if (source.data && source.type == type_ && !column_order) {
      std::memcpy(to, source.row_data(from), columns * size_of(type_));
      return;
    }
    source.read(from, row_.data());
    if (check_)
      for (size_t c = 0; c < columns; ++c)
        require(std::isfinite(row_[c]), "tensor {}: row {}, column {} is not finite", source.name, from, c);
    if (column_order)
      for (size_t c = 0; c < columns; ++c) ordered_[c] = row_[size_t((*column_order)[c])];
    from_float((column_order ? ordered_ : row_).data(), columns, type_, to);
  }

 private:
  DType type_;
  bool check_;
  std::vector<float> row_, ordered_;
};

/// Calls read(reader, row) for each row, in parallel; an exception of one is thrown on here.
template <typename Read>
void read_in_parallel(int64_t rows, int64_t columns, DType type, bool check, Read read) {
  std::exception_ptr error;
#pragma omp parallel if (rows * columns > 65536)
  {
    RowReader reader(type, check, columns);
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      try {
        read(reader, row);
      } catch (...) {
#pragma omp critical(yopo_weights_error)
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

/// Reads rows [row_order or own order] with columns in order as `type` into `out`.
void read_rows(const TensorSource& source, const std::vector<int64_t>* row_order,
               const std::vector<int64_t>* column_order, DType type, bool check, void* out) {
  read_in_parallel(source.rows, source.columns, type, check, [&](RowReader& reader, int64_t row) {
    reader.read(source, row_order ? (*row_order)[size_t(row)] : row, column_order,
                offset(out, type, row * source.columns));
  });
}

/// Of two orders one after the other, either of which may be empty: as it is.
std::vector<int64_t> chained(const std::vector<int64_t>& order, const std::vector<int64_t>& of_those) {
  if (order.empty()) return of_those;
  std::vector<int64_t> all;
  for (const int64_t index : of_those) all.push_back(order[size_t(index)]);
  return of_those.empty() ? order : all;
}

}  // namespace

WeightBuilder::WeightBuilder(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type, const Ops& ops,
                             const Arrangement& arrangement, Find find)
    : spec_(spec),
      table_(tensor_table(spec)),
      orders_(orders),
      type_(type),
      ops_(ops),
      arrangement_(arrangement),
      find_(std::move(find)) {
  ensure(int64_t(orders.size()) == spec.text.num_hidden_layers, "one order a layer");
  packs_ = arrangement.wanted && ops.packed_bytes && ops.packed_bytes(type, 1, 1) > 0;
  merges_ = packs_ || (arrangement.wanted && !ops.host_memory);
}

std::vector<int64_t> WeightBuilder::order_of(const TensorSlot& slot, Axis axis) const {
  std::vector<int64_t> order;
  switch (axis) {
    case Axis::Fixed:
      break;
    case Axis::QueryHeads:
      order = expand(orders_[size_t(slot.layer)].heads, spec_.text.head_dim);
      break;
    case Axis::KeyValueHeads:
      order = expand(orders_[size_t(slot.layer)].kv_heads, spec_.text.head_dim);
      break;
    case Axis::Neurons:
      order = orders_[size_t(slot.layer)].neurons;
      break;
  }
  if (is_identity(order)) order.clear();
  return order;
}

Matrix WeightBuilder::matrix(LoadedTensors& memory, const TensorSlot& slot, bool packed,
                             const LayerSplit* split) const {
  const TensorSource source = find_(slot);
  const std::vector<int64_t> rows = order_of(slot, slot.rows);
  std::vector<int64_t> columns = order_of(slot, slot.columns);
  int64_t cut = 0;  // columns
  if (split && slot.columns == Axis::QueryHeads) {
    columns = chained(columns, out_columns(*split, spec_.text));
    if (is_identity(columns)) columns.clear();
    cut = int64_t(split->updated.size()) * spec_.text.head_dim;
  } else if (split && slot.columns == Axis::Neurons) {
    cut = split->neurons;
  }
  const std::vector<int64_t>*row_order = rows.empty() ? nullptr : &rows,
        *column_order = columns.empty() ? nullptr : &columns;
  Matrix result{nullptr, source.rows, source.columns};
  const bool as_it_lies = source.data && source.type == type_ && source.contiguous() && !row_order && !column_order;
  const size_t bytes = size_t(source.rows * source.columns) * size_of(type_);
  const void* in_file = as_it_lies ? source.row_data(0) : nullptr;
  const bool as_rows = ops_.host_memory && !packed;
  if (in_file && as_rows) {
    memory.use(source.file, in_file, bytes);
    result.data = in_file;
    return result;
  }
  Buffer staging;
  void* target = packed ? nullptr : memory.own(ops_, bytes);
  if (!in_file) {
    if (!as_rows) staging = Buffer(cpu_ops(), bytes);
    read_rows(source, row_order, column_order, type_, true, as_rows ? target : staging.data());
  }
  const void* from = in_file ? in_file : staging.data();
  result.data = target;
  if (packed)
    pack(memory, from, cut, result);
  else if (!as_rows)
    ops_.upload(target, from, bytes);
  // Read once: its pages need not stay beside the copy.
  if (source.data) source.file->drop(source.file_offset(), source.file_bytes());
  return result;
}

void WeightBuilder::pack(LoadedTensors& memory, const void* rows, int64_t cut, Matrix& result) const {
  int64_t column = 0;
  for (const int64_t end : {cut, result.columns}) {
    if (end == column) continue;
    const size_t bytes = ops_.packed_bytes(type_, result.rows, end - column);
    void* out = memory.own(ops_, bytes);
    result.tiles.push_back({0, result.rows, column, end - column, out, bytes});
    ops_.pack(type_, offset(rows, type_, column), result.columns, result.rows, end - column, out);
    column = end;
  }
}

Matrix WeightBuilder::merged(LoadedTensors& memory, int64_t layer, const std::vector<MergedRow>& rows,
                             int64_t split) const {
  constexpr int64_t chunk = 8 * packed_rows;  // rows at once: what lies beside the copy meanwhile
  struct Part {
    TensorSource source;
    std::vector<int64_t> order;
  };
  std::map<Role, Part> parts;
  for (const MergedRow& row : rows)
    if (!parts.contains(row.role)) {
      const TensorSlot& slot = find_slot(table_, row.role, layer);
      parts[row.role] = {find_(slot), order_of(slot, slot.rows)};
    }
  const int64_t columns = parts.begin()->second.source.columns, count = int64_t(rows.size());
  Matrix result{nullptr, count, columns};
  const auto bytes_of = [&](int64_t n) {
    if (n == 0) return size_t(0);
    return packs_ ? ops_.packed_bytes(type_, n, columns) : size_t(n * columns) * size_of(type_);
  };
  auto* out = static_cast<std::byte*>(memory.own(ops_, bytes_of(split) + bytes_of(count - split)));
  if (!packs_) result.data = out;
  const Buffer staging(cpu_ops(), size_t(std::min(chunk, count) * columns) * size_of(type_));
  int64_t first = 0;
  for (const int64_t end : {split, count}) {
    if (end == first) continue;
    if (packs_) result.tiles.push_back({first, end - first, 0, columns, out, bytes_of(end - first)});
    for (int64_t at = first; at < end; at += chunk) {
      const int64_t here = std::min(chunk, end - at);
      read_in_parallel(here, columns, type_, true, [&](RowReader& reader, int64_t row) {
        const MergedRow& merged = rows[size_t(at + row)];
        const Part& part = parts.at(merged.role);
        reader.read(part.source, part.order.empty() ? merged.row : part.order[size_t(merged.row)], nullptr,
                    offset(staging.data(), type_, row * columns));
      });
      std::byte* to = out + bytes_of(at - first);
      if (packs_)
        ops_.pack(type_, staging.data(), columns, here, columns, to);
      else
        ops_.upload(to, staging.data(), bytes_of(here));
    }
    out += bytes_of(end - first);
    first = end;
  }
  for (const auto& [role, part] : parts)
    if (part.source.data) part.source.file->drop(part.source.file_offset(), part.source.file_bytes());
  return result;
}

void WeightBuilder::fill_merged(LoadedTensors& memory, int64_t layer, DecoderLayerWeights& into) const {
  const LayerSplit& split = arrangement_.splits[size_t(layer)];
  const DecoderSpec& spec = spec_.text;
  const auto in = [](Role role, std::initializer_list<Role> roles) {
    return std::ranges::find(roles, role) != roles.end();
  };
  fill_tensors(
      into, table_, layer,
      [&](const TensorSlot& slot) {
        return in(slot.role, {Role::Q, Role::K, Role::V, Role::Gate, Role::Up}) ? Matrix{}
                                                                                : matrix(memory, slot, packs_, &split);
      },
      [&](const TensorSlot& slot) {
        return in(slot.role, {Role::QBias, Role::KBias, Role::VBias}) ? nullptr
                                                                      : on_device(memory, vector_values(slot));
      });
  const std::vector<MergedRow> rows = qkv_rows(split, spec);
  into.qkv = merged(memory, layer, rows, columns_of(split, spec).split);
  into.gate_up = merged(memory, layer, gate_up_rows(split, spec), 2 * split.neurons);
  into.qkv_bias = merged_bias(memory, layer, rows);
}

const float* WeightBuilder::merged_bias(LoadedTensors& memory, int64_t layer,
                                        const std::vector<MergedRow>& rows) const {
  std::map<Role, std::vector<float>> values;
  for (const auto& [role, bias] :
       {std::pair(Role::Q, Role::QBias), std::pair(Role::K, Role::KBias), std::pair(Role::V, Role::VBias)})
    if (const TensorSlot* slot = slot_if(table_, bias, layer)) values[role] = vector_values(*slot);
  if (values.empty()) return nullptr;
  std::vector<float> bias(rows.size(), 0.0f);
  for (size_t i = 0; i < rows.size(); ++i)
    if (const auto found = values.find(rows[i].role); found != values.end())
      bias[i] = found->second[size_t(rows[i].row)];
  return on_device(memory, bias);
}

std::vector<float> WeightBuilder::vector_values(const TensorSlot& slot) const {
  const TensorSource source = find_(slot);
  const std::vector<int64_t> order = slot.role == Role::PositionEmbed
                                         ? expand(position_order(spec_.vision), spec_.vision.hidden_size)
                                         : order_of(slot, slot.rows);
  const size_t count = size_t(source.rows * source.columns);
  std::vector<float> values(count), ordered(count);
  for (int64_t row = 0; row < source.rows; ++row) source.read(row, values.data() + row * source.columns);
  for (size_t i = 0; i < count; ++i) {
    require(std::isfinite(values[i]), "tensor {}: element {} is not finite", source.name, i);
    ordered[i] = values[order.empty() ? i : size_t(order[i])];
  }
  return ordered;
}

const float* WeightBuilder::on_device(LoadedTensors& memory, const std::vector<float>& values) const {
  void* target = memory.own(ops_, values.size() * sizeof(float));
  ops_.upload(target, values.data(), values.size() * sizeof(float));
  return static_cast<const float*>(target);
}

template <typename Tensors>
void WeightBuilder::fill(LoadedTensors& memory, int64_t layer, bool packed, Tensors& into) const {
  fill_tensors(
      into, table_, layer, [&](const TensorSlot& slot) { return matrix(memory, slot, packed, nullptr); },
      [&](const TensorSlot& slot) { return on_device(memory, vector_values(slot)); });
}

void WeightBuilder::announce(TensorPlace place, int64_t layer) const {
  for (const TensorSlot& slot : table_) {
    if (slot.place != place || slot.layer != layer || slot.shape.size() < 2) continue;
    const TensorSource source = find_(slot);
    if (!source.data) return;
    source.file->prefetch(source.file_offset(), source.file_bytes());
  }
}

template <typename Layer>
std::unique_ptr<LayerStore<Layer>> WeightBuilder::layers(TensorPlace place, int64_t count) {
  int64_t bytes = 0;  // of one layer: all of a kind are of one size
  for (const TensorSlot& slot : table_)
    if (slot.place == place && slot.layer == 0)
      bytes +=
          element_count(slot.shape, slot.name) * int64_t(is_matrix<Layer>(slot.role) ? size_of(type_) : sizeof(float));
  return std::make_unique<LayerStore<Layer>>(
      count, bytes,
      [self = shared_from_this()](int64_t layer, bool merged, Loaded<Layer>& into) {
        if constexpr (std::is_same_v<Layer, DecoderLayerWeights>)
          if (merged && self->merges_) return self->fill_merged(into.memory, layer, into.weights);
        self->fill(into.memory, layer, merged && self->packs_, into.weights);
      },
      [self = shared_from_this(), place](int64_t layer) { self->announce(place, layer); });
}

std::shared_ptr<Weights> WeightBuilder::build(bool with_vision) {
  auto weights = std::make_shared<Weights>();
  weights->type = type_;
  const TensorSource embed = find_(find_slot(table_, Role::EmbedTokens));
  if (embed.data) {
    weights->fixed.use(embed.file, embed.data, size_t(embed.rows * embed.columns) * size_of(embed.type));
    weights->embed = embed.data;
    weights->embed_type = embed.type;
  } else {
    void* rows = weights->fixed.own(cpu_ops(), size_t(embed.rows * embed.columns) * size_of(type_));
    read_rows(embed, nullptr, nullptr, type_, false, rows);
    weights->embed = rows;
    weights->embed_type = type_;
  }
  fill(weights->fixed, -1, packs_, weights->decoder);
  weights->can_merge = merges_;
  weights->splits = arrangement_.splits;
  weights->has_vision = with_vision;
  if (with_vision) {
    fill(weights->fixed, -1, packs_, weights->vision);
    fill(weights->fixed, -1, packs_, weights->projector);
    for (int64_t tap = 0; tap < spec_.deep_taps(); ++tap)
      fill(weights->fixed, tap, packs_, weights->taps.emplace_back());
  }
  weights->fixed_bytes =
      weights->fixed.bytes() - int64_t(size_t(embed.rows * embed.columns) * size_of(weights->embed_type));

  weights->layers = layers<DecoderLayerWeights>(TensorPlace::DecoderLayer, spec_.text.num_hidden_layers);
  weights->vision_layers =
      layers<VisionLayerWeights>(TensorPlace::VisionLayer, with_vision ? spec_.vision.layers_run() : 0);
  return weights;
}

std::vector<LayerOrder> prefix_orders(const Plan& plan, const DecoderSpec& spec) {
  std::vector<LayerOrder> orders = orders_of(plan, spec);
  for (size_t layer = 0; layer < orders.size(); ++layer)
    if (!plan.layers[layer].alive) orders[layer] = identity_order(spec);
  return orders;
}

std::vector<LayerOrder> prefix_orders(const Plan& plan, const OpenModel& model) {
  const DecoderSpec& spec = model.spec.text;
  if (!has(model.checkpoint.config(), "yopo") || !in_prefix_form(plan, spec)) return prefix_orders(plan, spec);
  return std::vector<LayerOrder>(plan.layers.size(), identity_order(spec));
}

std::shared_ptr<Weights> load_weights(const OpenModel& model, const std::vector<LayerOrder>& orders, DType type,
                                      const Ops& ops, const Arrangement& arrangement) {
  const auto find = [checkpoint = model.checkpoint](const TensorSlot& slot) {
    const TensorView& view = checkpoint.at(slot.name, slot.stored);
    require(view.dtype == DType::F32 || view.dtype == DType::F16 || view.dtype == DType::BF16,
            "{}: tensor {}: expected F32, F16 or BF16, found {}", checkpoint.folder().string(), slot.name,
            safetensors_name(view.dtype));
    TensorSource source;
    // A vector is one row, or, where it shares its tensor, as many rows of one element.
    const bool vector = slot.shape.size() == 1 && slot.part.whole();
    source.rows = vector ? 1 : slot.shape[0];
    source.columns = element_count(slot.shape, slot.name) / source.rows;
    source.type = view.dtype;
    source.data = view.bytes.data();
    source.part = slot.part;
    source.file = view.file;
    source.name = checkpoint.folder().string() + ": " + slot.name;
    source.read = [view, part = slot.part, columns = source.columns](int64_t row, float* out) {
      to_float(offset(static_cast<const void*>(view.bytes.data()), view.dtype, part.row(row) * columns), view.dtype,
               size_t(columns), out);
    };
    return source;
  };
  return std::make_shared<WeightBuilder>(model.spec, orders, type, ops, arrangement, find)->build(true);
}

}  // namespace yopo::runtime
