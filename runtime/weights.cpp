#include "runtime/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <numeric>

#include "core/error.h"
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
        std::memcpy(to, offset(source.data, type, from * columns), size_t(columns) * size_of(type));
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

constexpr Role layer_matrices[] = {Role::Q, Role::K, Role::V, Role::O, Role::Gate, Role::Up, Role::Down};

}  // namespace

WeightBuilder::WeightBuilder(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type, const Ops& ops,
                             Find find)
    : spec_(spec), orders_(orders), type_(type), ops_(ops), find_(std::move(find)) {
  ensure(int64_t(orders.size()) == spec.text.num_hidden_layers, "one order a layer");
}

Matrix WeightBuilder::matrix(LoadedTensors& memory, Role role, int64_t layer, const std::vector<int64_t>* row_order,
                             const std::vector<int64_t>* column_order) const {
  const TensorSource source = find_(role, layer);
  if (row_order && is_identity(*row_order)) row_order = nullptr;
  if (column_order && is_identity(*column_order)) column_order = nullptr;
  Matrix result{nullptr, source.rows, source.columns};
  const bool as_it_lies = source.data && source.type == type_ && !row_order && !column_order;
  const size_t bytes = size_t(source.rows * source.columns) * size_of(type_);
  if (as_it_lies && ops_.host_memory) {
    memory.use(source.file, source.data, bytes);
    result.data = source.data;
    return result;
  }
  void* target = memory.own(ops_, bytes);
  result.data = target;
  if (ops_.host_memory) {
    read_rows(source, row_order, column_order, type_, true, target);
  } else if (as_it_lies) {
    ops_.upload(target, source.data, bytes);
  } else {
    const Buffer staging(cpu_ops(), bytes);
    read_rows(source, row_order, column_order, type_, true, staging.data());
    ops_.upload(target, staging.data(), bytes);
  }
  if (source.data) {  // read once: its pages need not stay beside the copy
    const size_t at = size_t(static_cast<const std::byte*>(source.data) - source.file->bytes().data());
    source.file->drop(at, size_t(source.rows * source.columns) * size_of(source.type));
  }
  return result;
}

const float* WeightBuilder::vector(LoadedTensors& memory, Role role, int64_t layer,
                                   const std::vector<int64_t>* order) const {
  const TensorSource source = find_(role, layer);
  const size_t count = size_t(source.rows * source.columns);
  std::vector<float> values(count), ordered(count);
  for (int64_t row = 0; row < source.rows; ++row) source.read(row, values.data() + row * source.columns);
  for (size_t i = 0; i < count; ++i) {
    require(std::isfinite(values[i]), "tensor {}: element {} is not finite", source.name, i);
    ordered[i] = values[order ? size_t((*order)[i]) : i];
  }
  void* target = memory.own(ops_, count * sizeof(float));
  ops_.upload(target, ordered.data(), count * sizeof(float));
  return static_cast<const float*>(target);
}

void WeightBuilder::decoder_layer(int64_t layer, LoadedLayer& into) const {
  const LayerOrder& order = orders_[size_t(layer)];
  const std::vector<int64_t> q = expand(order.heads, spec_.text.head_dim),
                             kv = expand(order.kv_heads, spec_.text.head_dim);
  DecoderLayerWeights& w = into.weights;
  LoadedTensors& m = into.memory;
  w.input_norm = vector(m, Role::InputNorm, layer);
  w.post_norm = vector(m, Role::PostNorm, layer);
  w.q = matrix(m, Role::Q, layer, &q);
  w.k = matrix(m, Role::K, layer, &kv);
  w.v = matrix(m, Role::V, layer, &kv);
  w.o = matrix(m, Role::O, layer, nullptr, &q);
  w.gate = matrix(m, Role::Gate, layer, &order.neurons);
  w.up = matrix(m, Role::Up, layer, &order.neurons);
  w.down = matrix(m, Role::Down, layer, nullptr, &order.neurons);
  if (spec_.text.attention_bias) {
    w.q_bias = vector(m, Role::QBias, layer, &q);
    w.k_bias = vector(m, Role::KBias, layer, &kv);
    w.v_bias = vector(m, Role::VBias, layer, &kv);
  }
}

void WeightBuilder::announce(int64_t layer) const {
  for (const Role role : layer_matrices) {
    const TensorSource source = find_(role, layer);
    if (!source.data) return;
    source.file->prefetch(size_t(static_cast<const std::byte*>(source.data) - source.file->bytes().data()),
                          size_t(source.rows * source.columns) * size_of(source.type));
  }
}

int64_t WeightBuilder::layer_bytes(int64_t layer) const {
  int64_t bytes = 0;
  for (const Role role : layer_matrices) {
    const TensorSource source = find_(role, layer);
    bytes += source.rows * source.columns * int64_t(size_of(type_));
  }
  const DecoderSpec& text = spec_.text;  // norms and biases are fp32
  const int64_t biases =
      text.attention_bias ? (text.num_attention_heads + 2 * text.num_key_value_heads) * text.head_dim : 0;
  return bytes + (2 * text.hidden_size + biases) * int64_t(sizeof(float));
}

void WeightBuilder::vision(Weights& weights) const {
  VisionWeights& v = weights.vision;
  LoadedTensors& m = weights.fixed;
  weights.has_vision = true;
  v.patch = matrix(m, Role::PatchEmbed, -1);
  v.class_embed = vector(m, Role::ClassEmbed, -1);
  v.position_embed = vector(m, Role::PositionEmbed, -1);
  v.pre_norm = vector(m, Role::PreNorm, -1);
  v.pre_norm_bias = vector(m, Role::PreNormBias, -1);
  for (int64_t l = 0; l < spec_.vision.layers_run; ++l) {
    VisionLayerWeights& w = v.layers.emplace_back();
    w.norm1 = vector(m, Role::Norm1, l), w.norm1_bias = vector(m, Role::Norm1Bias, l);
    w.norm2 = vector(m, Role::Norm2, l), w.norm2_bias = vector(m, Role::Norm2Bias, l);
    w.q = matrix(m, Role::VisionQ, l), w.q_bias = vector(m, Role::VisionQBias, l);
    w.k = matrix(m, Role::VisionK, l), w.k_bias = vector(m, Role::VisionKBias, l);
    w.v = matrix(m, Role::VisionV, l), w.v_bias = vector(m, Role::VisionVBias, l);
    w.o = matrix(m, Role::VisionO, l), w.o_bias = vector(m, Role::VisionOBias, l);
    w.fc1 = matrix(m, Role::Fc1, l), w.fc1_bias = vector(m, Role::Fc1Bias, l);
    w.fc2 = matrix(m, Role::Fc2, l), w.fc2_bias = vector(m, Role::Fc2Bias, l);
  }
  v.project1 = matrix(m, Role::Project1, -1);
  v.project2 = matrix(m, Role::Project2, -1);
  if (spec_.projector.bias) {
    v.project1_bias = vector(m, Role::Project1Bias, -1);
    v.project2_bias = vector(m, Role::Project2Bias, -1);
  }
}

std::shared_ptr<Weights> WeightBuilder::build(bool with_vision) {
  auto weights = std::make_shared<Weights>();
  weights->type = type_;
  const TensorSource embed = find_(Role::EmbedTokens, -1);
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
  weights->final_norm = vector(weights->fixed, Role::FinalNorm, -1);
  weights->head = matrix(weights->fixed, Role::LmHead, -1);
  if (with_vision) vision(*weights);
  weights->fixed_bytes =
      weights->fixed.bytes() - int64_t(size_t(embed.rows * embed.columns) * size_of(weights->embed_type));

  int64_t largest = 0;
  for (int64_t layer = 0; layer < spec_.text.num_hidden_layers; ++layer)
    largest = std::max(largest, layer_bytes(layer));
  const auto self = shared_from_this();
  weights->layers = std::make_unique<LayerStore>(
      spec_.text.num_hidden_layers, largest,
      [self](int64_t layer, LoadedLayer& into) { self->decoder_layer(layer, into); },
      [self](int64_t layer) { self->announce(layer); });
  return weights;
}

std::vector<LayerOrder> prefix_orders(const Plan& plan, const DecoderSpec& spec) {
  std::vector<LayerOrder> orders = orders_of(plan, spec);
  for (size_t layer = size_t(std::max<int64_t>(plan.visual_layers, 0)); layer < orders.size(); ++layer) {
    std::iota(orders[layer].kv_heads.begin(), orders[layer].kv_heads.end(), int64_t(0));
    std::iota(orders[layer].heads.begin(), orders[layer].heads.end(), int64_t(0));
    std::iota(orders[layer].neurons.begin(), orders[layer].neurons.end(), int64_t(0));
  }
  return orders;
}

std::shared_ptr<Weights> load_weights(const OpenModel& model, const std::vector<LayerOrder>& orders, DType type,
                                      const Ops& ops) {
  const auto find = [table = tensor_table(model.spec), checkpoint = model.checkpoint](Role role, int64_t layer) {
    const TensorSlot& slot = find_slot(table, role, layer);
    const TensorView& view = checkpoint.at(slot.name, slot.shape);
    require(view.dtype == DType::F32 || view.dtype == DType::F16 || view.dtype == DType::BF16,
            "{}: tensor {}: expected F32, F16 or BF16, found {}", checkpoint.folder().string(), slot.name,
            safetensors_name(view.dtype));
    TensorSource source;
    source.rows = slot.shape.size() > 1 ? slot.shape[0] : 1;
    source.columns = element_count(slot.shape, slot.name) / source.rows;
    source.type = view.dtype;
    source.data = view.bytes.data();
    source.file = view.file;
    source.name = checkpoint.folder().string() + ": " + slot.name;
    source.read = [view, columns = source.columns](int64_t row, float* out) {
      to_float(offset(static_cast<const void*>(view.bytes.data()), view.dtype, row * columns), view.dtype,
               size_t(columns), out);
    };
    return source;
  };
  return std::make_shared<WeightBuilder>(model.spec, orders, type, ops, find)->build(true);
}

}  // namespace yopo::runtime
