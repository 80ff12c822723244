// A model's tensors by name, as both forwards hold them: what a matrix and a vector are is each forward's own. A member
// whose role the model lacks keeps its null value.
#pragma once

#include <array>
#include <utility>

#include "models/tensors.h"

namespace yopo {

/// A decoder layer. C hidden size, H query heads and KV key/value heads of size D, F neurons.
template <typename Matrix, typename Vector = Matrix>
struct LayerTensors {
  Vector input_norm{}, post_norm{};     // [C]
  Matrix q{}, k{}, v{};                 // [H * D, C], [KV * D, C] twice
  Vector q_bias{}, k_bias{}, v_bias{};  // [H * D], [KV * D] twice
  Matrix o{};                           // [C, H * D]
  Vector o_bias{};                      // [C]
  Vector q_norm{}, k_norm{};            // [D]
  Matrix gate{}, up{};                  // [F, C]
  Matrix down{};                        // [C, F]

  using Self = LayerTensors;
  static constexpr auto matrices() {
    return std::array{std::pair{Role::Q, &Self::q},       std::pair{Role::K, &Self::k},
                      std::pair{Role::V, &Self::v},       std::pair{Role::O, &Self::o},
                      std::pair{Role::Gate, &Self::gate}, std::pair{Role::Up, &Self::up},
                      std::pair{Role::Down, &Self::down}};
  }
  static constexpr auto vectors() {
    return std::array{std::pair{Role::InputNorm, &Self::input_norm}, std::pair{Role::PostNorm, &Self::post_norm},
                      std::pair{Role::QBias, &Self::q_bias},         std::pair{Role::KBias, &Self::k_bias},
                      std::pair{Role::VBias, &Self::v_bias},         std::pair{Role::OBias, &Self::o_bias},
                      std::pair{Role::HeadQNorm, &Self::q_norm},     std::pair{Role::HeadKNorm, &Self::k_norm}};
  }
};

/// A block of the vision tower. E its width, M the MLP's.
template <typename Matrix, typename Vector = Matrix>
struct VisionLayerTensors {
  Vector norm1{}, norm1_bias{}, norm2{}, norm2_bias{};  // [E]
  Matrix q{}, k{}, v{}, o{};                            // [E, E]
  Vector q_bias{}, k_bias{}, v_bias{}, o_bias{};        // [E]
  Vector q_norm{}, k_norm{};                            // [E]
  Vector scale1{}, scale2{};                            // [E]
  Matrix fc_gate{}, fc1{};                              // [M, E]
  Vector fc_gate_bias{}, fc1_bias{};                    // [M]
  Matrix fc2{};                                         // [E, M]
  Vector fc2_bias{};                                    // [E]

  using Self = VisionLayerTensors;
  static constexpr auto matrices() {
    return std::array{std::pair{Role::VisionQ, &Self::q},      std::pair{Role::VisionK, &Self::k},
                      std::pair{Role::VisionV, &Self::v},      std::pair{Role::VisionO, &Self::o},
                      std::pair{Role::FcGate, &Self::fc_gate}, std::pair{Role::Fc1, &Self::fc1},
                      std::pair{Role::Fc2, &Self::fc2}};
  }
  static constexpr auto vectors() {
    return std::array{std::pair{Role::Norm1, &Self::norm1},
                      std::pair{Role::Norm1Bias, &Self::norm1_bias},
                      std::pair{Role::Norm2, &Self::norm2},
                      std::pair{Role::Norm2Bias, &Self::norm2_bias},
                      std::pair{Role::VisionQBias, &Self::q_bias},
                      std::pair{Role::VisionKBias, &Self::k_bias},
                      std::pair{Role::VisionVBias, &Self::v_bias},
                      std::pair{Role::VisionOBias, &Self::o_bias},
                      std::pair{Role::QNorm, &Self::q_norm},
                      std::pair{Role::KNorm, &Self::k_norm},
                      std::pair{Role::Scale1, &Self::scale1},
                      std::pair{Role::Scale2, &Self::scale2},
                      std::pair{Role::FcGateBias, &Self::fc_gate_bias},
                      std::pair{Role::Fc1Bias, &Self::fc1_bias},
                      std::pair{Role::Fc2Bias, &Self::fc2_bias}};
  }
};

/// What the decoder has once, but for the token embeddings: they stay in their stored type.
template <typename Matrix, typename Vector = Matrix>
struct DecoderEnds {
  Vector final_norm{};  // [C]
  Matrix head{};        // [V, C]; the token embeddings where they are tied

  using Self = DecoderEnds;
  static constexpr auto matrices() { return std::array{std::pair{Role::LmHead, &Self::head}}; }
  static constexpr auto vectors() { return std::array{std::pair{Role::FinalNorm, &Self::final_norm}}; }
};

/// What the vision tower has once.
template <typename Matrix, typename Vector = Matrix>
struct VisionEnds {
  Matrix patch{};                      // [E, patch_values]
  Vector patch_bias{};                 // [E]
  Vector class_embed{};                // [E]
  Vector positions{};                  // [rows of a picture, E], in the order of the tower's rows
  Vector pre_norm{}, pre_norm_bias{};  // [E]

  using Self = VisionEnds;
  static constexpr auto matrices() { return std::array{std::pair{Role::PatchEmbed, &Self::patch}}; }
  static constexpr auto vectors() {
    return std::array{std::pair{Role::PatchBias, &Self::patch_bias}, std::pair{Role::ClassEmbed, &Self::class_embed},
                      std::pair{Role::PositionEmbed, &Self::positions}, std::pair{Role::PreNorm, &Self::pre_norm},
                      std::pair{Role::PreNormBias, &Self::pre_norm_bias}};
  }
};

template <typename Matrix, typename Vector = Matrix>
struct ProjectorTensors {
  Vector norm{}, norm_bias{};  // [E] or [merge_size^2 * E]
  Matrix first{};              // [inner_size, merge_size^2 * E]
  Vector first_bias{};         // [inner_size]
  Matrix second{};             // [C, inner_size]
  Vector second_bias{};        // [C]
  Vector newline{};            // [C]: behind each row of a grid of tiles

  using Self = ProjectorTensors;
  static constexpr auto matrices() {
    return std::array{std::pair{Role::Project1, &Self::first}, std::pair{Role::Project2, &Self::second}};
  }
  static constexpr auto vectors() {
    return std::array{std::pair{Role::ProjectNorm, &Self::norm}, std::pair{Role::ProjectNormBias, &Self::norm_bias},
                      std::pair{Role::Project1Bias, &Self::first_bias},
                      std::pair{Role::Project2Bias, &Self::second_bias}, std::pair{Role::Newline, &Self::newline}};
  }
};

/// The projector of a tap behind a decoder layer.
template <typename Matrix, typename Vector = Matrix>
struct TapTensors : ProjectorTensors<Matrix, Vector> {
  using Self = TapTensors;
  static constexpr auto matrices() {
    return std::array{std::pair{Role::TapProject1, &Self::first}, std::pair{Role::TapProject2, &Self::second}};
  }
  static constexpr auto vectors() {
    return std::array{std::pair{Role::TapNorm, &Self::norm}, std::pair{Role::TapNormBias, &Self::norm_bias},
                      std::pair{Role::TapProject1Bias, &Self::first_bias},
                      std::pair{Role::TapProject2Bias, &Self::second_bias}};
  }
};

/// Sets every member that the table has a slot for: matrices to matrix(slot), vectors to vector(slot).
template <typename Tensors, typename ReadMatrix, typename ReadVector>
void fill_tensors(Tensors& into, const std::vector<TensorSlot>& table, int64_t layer, const ReadMatrix& matrix,
                  const ReadVector& vector) {
  for (const auto& [role, member] : Tensors::matrices())
    if (const TensorSlot* slot = slot_if(table, role, layer)) into.*member = matrix(*slot);
  for (const auto& [role, member] : Tensors::vectors())
    if (const TensorSlot* slot = slot_if(table, role, layer)) into.*member = vector(*slot);
}

/// Whether `role` is a matrix among these members.
template <typename Tensors>
constexpr bool is_matrix(Role role) {
  for (const auto& [own, member] : Tensors::matrices())
    if (own == role) return true;
  return false;
}

}  // namespace yopo
