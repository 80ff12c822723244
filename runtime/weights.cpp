#include "runtime/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>

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

/// Reads rows [row_order or own order] with columns in order as `type` into `out`, in parallel.
void read_rows(const TensorSource& source, const std::vector<int64_t>* row_order,
               const std::vector<int64_t>* column_order, DType type, bool check, void* out) {
  const int64_t columns = source.columns;
  const bool converted = !source.data || source.type != type;
  std::exception_ptr error;
#pragma omp parallel if (source.rows * columns > 65536)
  {
    std::vector<float> row(static_cast<size_t>(columns)), ordered(static_cast<size_t>(columns));
#pragma omp for schedule(static)
    for (int64_t r = 0; r < source.rows; ++r) {
      const int64_t from = row_order ? (*row_order)[size_t(r)] : r;
      void* to = offset(out, type, r * columns);
      if (!converted && !column_order) {
        std::memcpy(to, source.row_data(from), size_t(columns) * size_of(type));
        continue;
      }
      try {
        source.read(from, row.data());
        if (check)
          for (int64_t c = 0; c < columns; ++c)
            require(std::isfinite(row[size_t(c)]), "tensor {}: row {}, column {} is not finite", source.name, from, c);
        if (column_order)
          for (int64_t c = 0; c < columns; ++c) ordered[size_t(c)] = row[size_t((*column_order)[size_t(c)])];
        from_float((column_order ? ordered : row).data(), size_t(columns), type, to);
      } catch (...) {
#pragma omp critical(yopo_weights_error)
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace

WeightBuilder::WeightBuilder(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type, const Ops& ops,
                             const Packing& packing, Find find)
    : spec_(spec),
      table_(tensor_table(spec)),
      orders_(orders),
      type_(type),
      ops_(ops),
      packing_(packing),
      find_(std::move(find)) {
  ensure(int64_t(orders.size()) == spec.text.num_hidden_layers, "one order a layer");
  packing_.wanted = packing.wanted && ops.packed_bytes && ops.packed_bytes(type, 1, 1) > 0;
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

Matrix WeightBuilder::matrix(LoadedTensors& memory, const TensorSlot& slot, bool packed) const {
  const TensorSource source = find_(slot);
  const std::vector<int64_t> rows = order_of(slot, slot.rows), columns = order_of(slot, slot.columns);
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
    pack(memory, slot, from, result);
  else if (!as_rows)
    ops_.upload(target, from, bytes);
  // Read once: its pages need not stay beside the copy.
  if (source.data) source.file->drop(source.file_offset(), source.file_bytes());
  return result;
}

void WeightBuilder::pack(LoadedTensors& memory, const TensorSlot& slot, const void* rows, Matrix& result) const {
  const auto ends = [&](Axis axis, int64_t size) {
    std::vector<int64_t> cuts;
    if (slot.layer >= 0 && !packing_.cuts.empty() && slot.place == TensorPlace::DecoderLayer)
      cuts = packing_.cuts[size_t(slot.layer)].along(axis, spec_.text.head_dim);
    cuts.push_back(size);
    return cuts;
  };
  int64_t column = 0;
  for (const int64_t column_end : ends(slot.columns, result.columns)) {
    const size_t first = result.tiles.size();
    size_t bytes = 0;
    int64_t row = 0;
    for (const int64_t end : ends(slot.rows, result.rows)) {
      const size_t here = ops_.packed_bytes(type_, end - row, column_end - column);
      result.tiles.push_back({row, end - row, column, column_end - column, nullptr, here});
      bytes += here;
      row = end;
    }
    // The rows' tiles lie one behind the other: where a product takes several, it may take them as one.
    auto* out = static_cast<std::byte*>(memory.own(ops_, bytes));
    for (size_t i = first; i < result.tiles.size(); ++i) {
      PackedTile& tile = result.tiles[i];
      tile.data = out;
      ops_.pack(type_, offset(rows, type_, tile.row * result.columns + tile.column), result.columns, tile.rows,
                tile.columns, out);
      out += tile.bytes;
    }
    column = column_end;
  }
}

const float* WeightBuilder::vector(LoadedTensors& memory, const TensorSlot& slot) const {
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
  void* target = memory.own(ops_, count * sizeof(float));
  ops_.upload(target, ordered.data(), count * sizeof(float));
  return static_cast<const float*>(target);
}

template <typename Tensors>
void WeightBuilder::fill(LoadedTensors& memory, int64_t layer, bool packed, Tensors& into) const {
  fill_tensors(
      into, table_, layer, [&](const TensorSlot& slot) { return matrix(memory, slot, packed); },
      [&](const TensorSlot& slot) { return vector(memory, slot); });
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
      [self = shared_from_this()](int64_t layer, bool packed, Loaded<Layer>& into) {
        self->fill(into.memory, layer, packed && self->packing_.wanted, into.weights);
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
  fill(weights->fixed, -1, packing_.wanted, weights->decoder);
  weights->packable = packing_.wanted;
  weights->cuts = packing_.cuts;
  weights->has_vision = with_vision;
  if (with_vision) {
    fill(weights->fixed, -1, packing_.wanted, weights->vision);
    fill(weights->fixed, -1, packing_.wanted, weights->projector);
    for (int64_t tap = 0; tap < spec_.deep_taps(); ++tap)
      fill(weights->fixed, tap, packing_.wanted, weights->taps.emplace_back());
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
                                      const Ops& ops, const Packing& packing) {
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
  return std::make_shared<WeightBuilder>(model.spec, orders, type, ops, packing, find)->build(true);
}

}  // namespace yopo::runtime
