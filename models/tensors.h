// One tensor table a model: role, layer, name, shape and what orders its rows and columns. It drives load, reorder, export
// and their tests.
#pragma once

#include <string>
#include <vector>

#include "models/spec.h"

namespace yopo {

enum class Role {
  // language model
  EmbedTokens, LmHead, FinalNorm, InputNorm, PostNorm, Q, K, V, QBias, KBias, VBias, O, Gate, Up, Down,
  // vision tower
  PatchEmbed, ClassEmbed, PositionEmbed, PreNorm, PreNormBias, Norm1, Norm1Bias, Norm2, Norm2Bias,
  VisionQ, VisionK, VisionV, VisionO, VisionQBias, VisionKBias, VisionVBias, VisionOBias, Fc1, Fc1Bias, Fc2, Fc2Bias,
  // projector
  Project1, Project1Bias, Project2, Project2Bias,
};

/// What a dimension of a tensor enumerates, hence which permutation export applies to it.
enum class Axis { Fixed, QueryHeads, KeyValueHeads, Neurons };

struct TensorSlot {
  Role role;
  int64_t layer;                // decoder or vision layer; -1 where there is none
  std::string name;             // in the checkpoint
  std::vector<int64_t> shape;
  Axis rows = Axis::Fixed;      // dimension 0
  Axis columns = Axis::Fixed;   // dimension 1
};

/// Every tensor the two forwards read, in a fixed order.
std::vector<TensorSlot> tensor_table(const ModelSpec& spec);

/// The slot of a role; InternalError if the table has none.
const TensorSlot& find_slot(const std::vector<TensorSlot>& table, Role role, int64_t layer = -1);

/// UserError naming the tensor, expected and found for the first slot that the checkpoint lacks or holds in another shape
/// or in a type that is no float.
void check_tensors(const Checkpoint& checkpoint, const std::vector<TensorSlot>& table);

}  // namespace yopo
