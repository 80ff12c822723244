#include "runtime/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>

#include "core/error.h"
#include "models/patches.h"
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

constexpr Role decoder_matrices[] = {Role::Q, Role::K, Role::V, Role::O, Role::Gate, Role::Up, Role::Down};
constexpr Role vision_matrices[] = {Role::VisionQ, Role::VisionK, Role::VisionV, Role::VisionO, Role::Fc1, Role::Fc2};

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
  const bool as_it_lies = source.data && source.type == type_ && source.contiguous() && !row_order && !column_order;
  const size_t bytes = size_t(source.rows * source.columns) * size_of(type_);
  if (as_it_lies && ops_.host_memory) {
    memory.use(source.file, source.row_data(0), bytes);
    result.data = source.row_data(0);
    return result;
  }
  void* target = memory.own(ops_, bytes);
  result.data = target;
  if (ops_.host_memory) {
    read_rows(source, row_order, column_order, type_, true, target);
  } else if (as_it_lies) {
    ops_.upload(target, source.row_data(0), bytes);
  } else {
    const Buffer staging(cpu_ops(), bytes);
    read_rows(source, row_order, column_order, type_, true, staging.data());
    ops_.upload(target, staging.data(), bytes);
  }
  // Read once: its pages need not stay beside the copy.
  if (source.data) source.file->drop(source.file_offset(), source.file_bytes());
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

void WeightBuilder::decoder_layer(int64_t layer, Loaded<DecoderLayerWeights>& into) const {
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

void WeightBuilder::announce(std::span<const Role> matrices, int64_t layer) const {
  for (const Role role : matrices) {
    const TensorSource source = find_(role, layer);
    if (!source.data) return;
    source.file->prefetch(source.file_offset(), source.file_bytes());
  }
}

int64_t WeightBuilder::matrix_bytes(std::span<const Role> matrices, int64_t layer) const {
  int64_t bytes = 0;
  for (const Role role : matrices) {
    const TensorSource source = find_(role, layer);
    bytes += source.rows * source.columns * int64_t(size_of(type_));
  }
  return bytes;
}

void WeightBuilder::vision_layer(int64_t layer, Loaded<VisionLayerWeights>& into) const {
  const VisionSpec& spec = spec_.vision;
  VisionLayerWeights& w = into.weights;
  LoadedTensors& m = into.memory;
  const auto values = [&](bool there, Role role) { return there ? vector(m, role, layer) : nullptr; };
  const bool norm_bias = spec.norm == NormKind::Layer;
  w.norm1 = vector(m, Role::Norm1, layer), w.norm1_bias = values(norm_bias, Role::Norm1Bias);
  w.norm2 = vector(m, Role::Norm2, layer), w.norm2_bias = values(norm_bias, Role::Norm2Bias);
  w.q = matrix(m, Role::VisionQ, layer), w.q_bias = values(spec.qkv_bias, Role::VisionQBias);
  w.k = matrix(m, Role::VisionK, layer), w.k_bias = values(spec.qkv_bias, Role::VisionKBias);
  w.v = matrix(m, Role::VisionV, layer), w.v_bias = values(spec.qkv_bias, Role::VisionVBias);
  w.q_norm = values(spec.qk_norm, Role::QNorm), w.k_norm = values(spec.qk_norm, Role::KNorm);
  w.o = matrix(m, Role::VisionO, layer), w.o_bias = vector(m, Role::VisionOBias, layer);
  w.scale1 = values(spec.layer_scale, Role::Scale1), w.scale2 = values(spec.layer_scale, Role::Scale2);
  w.fc1 = matrix(m, Role::Fc1, layer), w.fc1_bias = vector(m, Role::Fc1Bias, layer);
  w.fc2 = matrix(m, Role::Fc2, layer), w.fc2_bias = vector(m, Role::Fc2Bias, layer);
}

void WeightBuilder::vision_ends(Weights& weights) const {
  const VisionSpec& spec = spec_.vision;
  VisionWeights& v = weights.vision;
  LoadedTensors& m = weights.fixed;
  const auto values = [&](bool there, Role role) { return there ? vector(m, role, -1) : nullptr; };
  weights.has_vision = true;
  v.patch = matrix(m, Role::PatchEmbed, -1);
  v.patch_bias = values(spec.patch_bias, Role::PatchBias);
  if (spec.learned_positions) {
    const std::vector<int64_t> order = expand(position_order(spec), spec.hidden_size);
    v.class_embed = vector(m, Role::ClassEmbed, -1);
    v.position_embed = vector(m, Role::PositionEmbed, -1, &order);
  }
  v.pre_norm = values(spec.pre_norm, Role::PreNorm);
  v.pre_norm_bias = values(spec.pre_norm, Role::PreNormBias);
  const bool norm = spec_.projector.norm_patches || spec_.projector.norm_merged;
  v.project_norm = values(norm, Role::ProjectNorm), v.project_norm_bias = values(norm, Role::ProjectNormBias);
  v.project1 = matrix(m, Role::Project1, -1), v.project1_bias = values(spec_.projector.bias, Role::Project1Bias);
  v.project2 = matrix(m, Role::Project2, -1), v.project2_bias = values(spec_.projector.bias, Role::Project2Bias);
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
  if (with_vision) vision_ends(*weights);
  weights->fixed_bytes =
      weights->fixed.bytes() - int64_t(size_t(embed.rows * embed.columns) * size_of(weights->embed_type));

  const DecoderSpec& text = spec_.text;  // norms and biases are fp32
  const int64_t biases =
      text.attention_bias ? (text.num_attention_heads + 2 * text.num_key_value_heads) * text.head_dim : 0;
  const int64_t layer_bytes =
      matrix_bytes(decoder_matrices, 0) + (2 * text.hidden_size + biases) * int64_t(sizeof(float));
  const auto self = shared_from_this();
  weights->layers = std::make_unique<LayerStore<DecoderLayerWeights>>(
      text.num_hidden_layers, layer_bytes,
      [self](int64_t layer, Loaded<DecoderLayerWeights>& into) { self->decoder_layer(layer, into); },
      [self](int64_t layer) { self->announce(decoder_matrices, layer); });

  const int64_t vision_layers = with_vision ? spec_.vision.layers_run : 0;
  const int64_t vision_bytes =
      vision_layers > 0 ? matrix_bytes(vision_matrices, 0) +
                              (12 * spec_.vision.hidden_size + spec_.vision.intermediate_size) * int64_t(sizeof(float))
                        : 0;
  weights->vision_layers = std::make_unique<LayerStore<VisionLayerWeights>>(
      vision_layers, vision_bytes,
      [self](int64_t layer, Loaded<VisionLayerWeights>& into) { self->vision_layer(layer, into); },
      [self](int64_t layer) { self->announce(vision_matrices, layer); });
  return weights;
}

std::vector<LayerOrder> prefix_orders(const Plan& plan, const DecoderSpec& spec) {
  std::vector<LayerOrder> orders = orders_of(plan, spec);
  for (size_t layer = 0; layer < orders.size(); ++layer)
    if (!plan.layers[layer].alive) orders[layer] = identity_order(spec);
  return orders;
}

std::shared_ptr<Weights> load_weights(const OpenModel& model, const std::vector<LayerOrder>& orders, DType type,
                                      const Ops& ops) {
  const auto find = [table = tensor_table(model.spec), checkpoint = model.checkpoint](Role role, int64_t layer) {
    const TensorSlot& slot = find_slot(table, role, layer);
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
  return std::make_shared<WeightBuilder>(model.spec, orders, type, ops, find)->build(true);
}

}  // namespace yopo::runtime
