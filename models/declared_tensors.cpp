// What tensors there are. Presence and shapes are said here and nowhere else.
#include "models/tensors.h"

namespace yopo {

namespace {

using Shape = std::vector<int64_t>;
using S = const ModelSpec&;

int64_t query_rows(S s) { return s.text.num_attention_heads * s.text.head_dim; }
int64_t key_rows(S s) { return s.text.num_key_value_heads * s.text.head_dim; }
int64_t joined(S s) { return s.vision.merge_size * s.vision.merge_size * s.vision.hidden_size; }

Shape hidden(S s) { return {s.text.hidden_size}; }
Shape vocabulary(S s) { return {s.text.vocab_size, s.text.hidden_size}; }
Shape neurons(S s) { return {s.text.intermediate_size, s.text.hidden_size}; }
Shape queries(S s) { return {query_rows(s), s.text.hidden_size}; }
Shape keys(S s) { return {key_rows(s), s.text.hidden_size}; }
Shape query_bias(S s) { return {query_rows(s)}; }
Shape key_bias(S s) { return {key_rows(s)}; }
bool attention_bias(S s) { return s.text.attention_bias; }
bool output_bias(S s) { return s.text.output_bias; }
Shape head(S s) { return {s.text.head_dim}; }
bool head_norm(S s) { return s.text.qk_norm; }

Shape width(S s) { return {s.vision.hidden_size}; }
Shape square(S s) { return {s.vision.hidden_size, s.vision.hidden_size}; }
Shape widen(S s) { return {s.vision.intermediate_size, s.vision.hidden_size}; }
Shape narrow(S s) { return {s.vision.hidden_size, s.vision.intermediate_size}; }
Shape wide_bias(S s) { return {s.vision.intermediate_size}; }
Shape patch(S s) {
  const VisionSpec& v = s.vision;
  if (v.temporal_patch_size > 1) return {v.hidden_size, 3, v.temporal_patch_size, v.patch_size, v.patch_size};
  return {v.hidden_size, 3, v.patch_size, v.patch_size};
}
Shape positions(S s) {
  if (const int64_t side = s.vision.table_side) return {side * side, s.vision.hidden_size};
  return {s.vision.positions(s.vision.grid() * s.vision.grid()), s.vision.hidden_size};
}
bool class_token(S s) { return s.vision.class_token; }
bool position_table(S s) { return s.vision.position_table || s.vision.table_side > 0; }
bool patch_bias(S s) { return s.vision.patch_bias; }
bool pre_norm(S s) { return s.vision.pre_norm; }
bool norm_bias(S s) { return s.vision.norm == NormKind::Layer; }
bool qkv_bias(S s) { return s.vision.qkv_bias; }
bool qk_norm(S s) { return s.vision.qk_norm; }
bool layer_scale(S s) { return s.vision.layer_scale; }
bool gated_mlp(S s) { return s.vision.gated_mlp; }

Shape project_norm(S s) { return {s.projector.norm_merged ? joined(s) : s.vision.hidden_size}; }
Shape first(S s) { return {s.projector.inner_size, joined(s)}; }
Shape first_bias(S s) { return {s.projector.inner_size}; }
Shape second(S s) { return {s.text.hidden_size, s.projector.inner_size}; }
bool projector_norm(S s) { return s.projector.norm != NormKind::None; }
bool projector_norm_bias(S s) { return s.projector.norm == NormKind::Layer; }
bool projector_bias(S s) { return s.projector.bias; }
Shape tap_norm(S s) { return {s.tap_projector.norm_merged ? joined(s) : s.vision.hidden_size}; }
Shape tap_first(S s) { return {s.tap_projector.inner_size, joined(s)}; }
Shape tap_first_bias(S s) { return {s.tap_projector.inner_size}; }
Shape tap_second(S s) { return {s.text.hidden_size, s.tap_projector.inner_size}; }
bool has_tap_norm(S s) { return s.tap_projector.norm != NormKind::None; }
bool tap_norm_bias(S s) { return s.tap_projector.norm == NormKind::Layer; }
bool tap_bias(S s) { return s.tap_projector.bias; }
bool newline(S s) { return s.image.fit == ImageSpec::Fit::AnyRes; }

constexpr Axis kFixed = Axis::Fixed, kHeads = Axis::QueryHeads, kKeyHeads = Axis::KeyValueHeads,
               kNeurons = Axis::Neurons;

constexpr DeclaredTensor kDeclared[] = {
    {Role::EmbedTokens, TensorPlace::Decoder, Fill::Normal, vocabulary},
    {Role::InputNorm, TensorPlace::DecoderLayer, Fill::One, hidden},
    {Role::Q, TensorPlace::DecoderLayer, Fill::Normal, queries, nullptr, kHeads},
    {Role::K, TensorPlace::DecoderLayer, Fill::Normal, keys, nullptr, kKeyHeads},
    {Role::V, TensorPlace::DecoderLayer, Fill::Normal, keys, nullptr, kKeyHeads},
    {Role::QBias, TensorPlace::DecoderLayer, Fill::Bias, query_bias, attention_bias, kHeads},
    {Role::KBias, TensorPlace::DecoderLayer, Fill::Bias, key_bias, attention_bias, kKeyHeads},
    {Role::VBias, TensorPlace::DecoderLayer, Fill::Bias, key_bias, attention_bias, kKeyHeads},
    {Role::HeadQNorm, TensorPlace::DecoderLayer, Fill::One, head, head_norm},
    {Role::HeadKNorm, TensorPlace::DecoderLayer, Fill::One, head, head_norm},
    {Role::O, TensorPlace::DecoderLayer, Fill::Normal,
     [](S s) -> Shape {
       return {s.text.hidden_size, query_rows(s)};
     },
     nullptr, kFixed, kHeads},
    {Role::OBias, TensorPlace::DecoderLayer, Fill::Bias, hidden, output_bias},
    {Role::PostNorm, TensorPlace::DecoderLayer, Fill::One, hidden},
    {Role::Gate, TensorPlace::DecoderLayer, Fill::Normal, neurons, nullptr, kNeurons},
    {Role::Up, TensorPlace::DecoderLayer, Fill::Normal, neurons, nullptr, kNeurons},
    {Role::Down, TensorPlace::DecoderLayer, Fill::Normal,
     [](S s) -> Shape {
       return {s.text.hidden_size, s.text.intermediate_size};
     },
     nullptr, kFixed, kNeurons},
    {Role::FinalNorm, TensorPlace::Decoder, Fill::One, hidden},
    {Role::LmHead, TensorPlace::Head, Fill::Normal, vocabulary},

    {Role::ClassEmbed, TensorPlace::Vision, Fill::Normal, width, class_token},
    {Role::PatchEmbed, TensorPlace::Vision, Fill::Normal, patch},
    {Role::PatchBias, TensorPlace::Vision, Fill::Bias, width, patch_bias},
    {Role::PositionEmbed, TensorPlace::Vision, Fill::Normal, positions, position_table},
    {Role::PreNorm, TensorPlace::Vision, Fill::One, width, pre_norm},
    {Role::PreNormBias, TensorPlace::Vision, Fill::Bias, width, pre_norm},
    {Role::Norm1, TensorPlace::VisionLayer, Fill::One, width},
    {Role::Norm1Bias, TensorPlace::VisionLayer, Fill::Bias, width, norm_bias},
    {Role::VisionQ, TensorPlace::VisionLayer, Fill::Normal, square},
    {Role::VisionK, TensorPlace::VisionLayer, Fill::Normal, square},
    {Role::VisionV, TensorPlace::VisionLayer, Fill::Normal, square},
    {Role::VisionQBias, TensorPlace::VisionLayer, Fill::Bias, width, qkv_bias},
    {Role::VisionKBias, TensorPlace::VisionLayer, Fill::Bias, width, qkv_bias},
    {Role::VisionVBias, TensorPlace::VisionLayer, Fill::Bias, width, qkv_bias},
    {Role::QNorm, TensorPlace::VisionLayer, Fill::One, width, qk_norm},
    {Role::KNorm, TensorPlace::VisionLayer, Fill::One, width, qk_norm},
    {Role::VisionO, TensorPlace::VisionLayer, Fill::Normal, square},
    {Role::VisionOBias, TensorPlace::VisionLayer, Fill::Bias, width},
    {Role::Scale1, TensorPlace::VisionLayer, Fill::LayerScale, width, layer_scale},
    {Role::Norm2, TensorPlace::VisionLayer, Fill::One, width},
    {Role::Norm2Bias, TensorPlace::VisionLayer, Fill::Bias, width, norm_bias},
    {Role::FcGate, TensorPlace::VisionLayer, Fill::Normal, widen, gated_mlp},
    {Role::Fc1, TensorPlace::VisionLayer, Fill::Normal, widen},
    {Role::FcGateBias, TensorPlace::VisionLayer, Fill::Bias, wide_bias, gated_mlp},
    {Role::Fc1Bias, TensorPlace::VisionLayer, Fill::Bias, wide_bias},
    {Role::Fc2, TensorPlace::VisionLayer, Fill::Normal, narrow},
    {Role::Fc2Bias, TensorPlace::VisionLayer, Fill::Bias, width},
    {Role::Scale2, TensorPlace::VisionLayer, Fill::LayerScale, width, layer_scale},

    {Role::ProjectNorm, TensorPlace::Projector, Fill::One, project_norm, projector_norm},
    {Role::ProjectNormBias, TensorPlace::Projector, Fill::Bias, project_norm, projector_norm_bias},
    {Role::Project1, TensorPlace::Projector, Fill::Normal, first},
    {Role::Project1Bias, TensorPlace::Projector, Fill::Bias, first_bias, projector_bias},
    {Role::Project2, TensorPlace::Projector, Fill::Normal, second},
    {Role::Project2Bias, TensorPlace::Projector, Fill::Bias, hidden, projector_bias},
    {Role::Newline, TensorPlace::Root, Fill::Normal, hidden, newline},

    {Role::TapNorm, TensorPlace::Tap, Fill::One, tap_norm, has_tap_norm},
    {Role::TapNormBias, TensorPlace::Tap, Fill::Bias, tap_norm, tap_norm_bias},
    {Role::TapProject1, TensorPlace::Tap, Fill::Normal, tap_first},
    {Role::TapProject1Bias, TensorPlace::Tap, Fill::Bias, tap_first_bias, tap_bias},
    {Role::TapProject2, TensorPlace::Tap, Fill::Normal, tap_second},
    {Role::TapProject2Bias, TensorPlace::Tap, Fill::Bias, hidden, tap_bias},
};

}  // namespace

std::span<const DeclaredTensor> declared_tensors() { return kDeclared; }

}  // namespace yopo
