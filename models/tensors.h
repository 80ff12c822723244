// The tensors of a model, declared once: for each role when it is there, its shape, what its rows and columns stand
// for, and how a random checkpoint fills it. With a layout's names this gives the table that drives load, reorder,
// export, byte counts and random checkpoints.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "models/spec.h"

namespace yopo {

enum class Role {
  // language model
  EmbedTokens,
  LmHead,
  FinalNorm,
  InputNorm,
  PostNorm,
  Q,
  K,
  V,
  QBias,
  KBias,
  VBias,
  O,
  OBias,
  Gate,
  Up,
  Down,
  // vision tower
  PatchEmbed,
  PatchBias,
  ClassEmbed,
  PositionEmbed,
  PreNorm,
  PreNormBias,
  Norm1,
  Norm1Bias,
  Norm2,
  Norm2Bias,
  VisionQ,
  VisionK,
  VisionV,
  VisionO,
  VisionQBias,
  VisionKBias,
  VisionVBias,
  VisionOBias,
  QNorm,
  KNorm,
  Scale1,
  Scale2,
  Fc1,
  Fc1Bias,
  Fc2,
  Fc2Bias,
  FcGate,
  FcGateBias,
  // projector
  ProjectNorm,
  ProjectNormBias,
  Project1,
  Project1Bias,
  Project2,
  Project2Bias,
  // of the language model, but in this place: a role's number draws its random weights
  HeadQNorm,
  HeadKNorm,
  // beside all of these
  Newline,
  // the projectors of taps in front of later layers
  TapNorm,
  TapNormBias,
  TapProject1,
  TapProject1Bias,
  TapProject2,
  TapProject2Bias,
};

/// What a dimension of a tensor enumerates, hence which permutation export applies to it.
enum class Axis { Fixed, QueryHeads, KeyValueHeads, Neurons };

/// Where in a model a role stands: once, once in every layer, or once for every tap behind a decoder layer.
enum class TensorPlace { Decoder, DecoderLayer, Head, Vision, VisionLayer, Projector, Root, Tap };

/// What a checkpoint without training holds.
enum class Fill { Normal, Bias, One, LayerScale };

struct DeclaredTensor {
  Role role;
  TensorPlace place;
  Fill fill;
  std::vector<int64_t> (*shape)(const ModelSpec& spec);
  bool (*present)(const ModelSpec& spec) = nullptr;  // null: in every model
  Axis rows = Axis::Fixed;                           // dimension 0
  Axis columns = Axis::Fixed;                        // dimension 1
};

/// All roles in the order of the table. Those of a kind of layer follow one another.
std::span<const DeclaredTensor> declared_tensors();

/// How several roles share one stored tensor.
enum class Fused {
  No,
  Blocks,    // one behind the other in the order of their names: all q, all k, all v; gate, up
  KvGroups,  // for each KV head: the rows of its query heads, of the key, of the value (InternLM2's wqkv)
};

/// Where a layout keeps a role. Those that share a tensor follow one another in the table.
struct TensorName {
  Role role;
  const char* name;  // behind the prefix; "{}" is the layer
  Fused fused = Fused::No;
  int leading_ones = 0;  // dimensions of size 1 that the stored shape has in front
};

/// The rows of a stored tensor that belong to one role: runs of `run` rows, `stride` rows apart, from row `first` on.
struct RowPart {
  int64_t first = 0, run = 0, stride = 0;  // run 0: the whole tensor
  bool whole() const { return run == 0; }
  /// The stored row of the role's row.
  int64_t row(int64_t own) const { return whole() ? own : first + own / run * stride + own % run; }
};

struct TensorSlot {
  Role role;
  TensorPlace place;
  int64_t layer;               // decoder or vision layer, or deep tap; -1 where there is none
  std::string name;            // in the checkpoint
  std::vector<int64_t> shape;  // the role's own
  Axis rows = Axis::Fixed;     // dimension 0
  Axis columns = Axis::Fixed;  // dimension 1
  RowPart part = {};
  std::vector<int64_t> stored;  // shape of the tensor in the checkpoint
  Fill fill = Fill::Normal;
  bool tied = false;  // the token embeddings under another role: nothing is stored for it
};

/// Every tensor the two forwards read, in a fixed order. Roles that share a stored tensor follow one another.
std::vector<TensorSlot> tensor_table(const ModelSpec& spec);

/// The slot of a role; null where the model has none.
const TensorSlot* slot_if(const std::vector<TensorSlot>& table, Role role, int64_t layer = -1);
/// The same; InternalError if the table has none.
const TensorSlot& find_slot(const std::vector<TensorSlot>& table, Role role, int64_t layer = -1);

/// The tensors as they are stored, each once, in the table's order; `fill` is that of the roles in it.
struct StoredTensor {
  std::string name;
  std::vector<int64_t> shape;
  Fill fill;
};
std::vector<StoredTensor> stored_tensors(const ModelSpec& spec);

/// UserError naming the tensor, expected and found for the first slot that the checkpoint lacks or holds in another
/// shape or in a type that is no float.
void check_tensors(const Checkpoint& checkpoint, const std::vector<TensorSlot>& table);

}  // namespace yopo
