// What a checkpoint is: a family as data, read from config.json. No Torch here; both forwards run from this.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "images/spec.h"

namespace yopo {

enum class Activation { Silu, Gelu, QuickGelu, GeluTanh };

/// Rotary embedding in the half-split layout over head_dim. See models/rope.h.
struct RopeSpec {
  double theta = 10000.0;
  enum class Scaling {
    None,
    Linear,      // factor divides every frequency
    DynamicNtk,  // the base grows once the keys outnumber original_positions (InternLM2)
    Yarn,        // factor divides the low frequencies, with a ramp in between
    Llama3,      // factor divides the long waves, with a ramp in between
    LongRope,    // short_factor or long_factor divide the frequencies (Phi-3's "su", later named longrope)
  } scaling = Scaling::None;
  int64_t original_positions = 0;        // length the model was trained at, in tokens; unused without scaling
  double factor = 1.0;                   // Linear, DynamicNtk, Yarn, Llama3
  double beta_fast = 32, beta_slow = 1;  // Yarn: turns within original_positions where the ramp ends and begins
  bool truncate = true;                  // Yarn: the ramp's ends are whole frequencies
  double low_freq_factor = 1, high_freq_factor = 4;  // Llama3: waves in original_positions where the ramp begins, ends
  std::vector<float> short_factor, long_factor;      // LongRope: [head_dim / 2] each
  double attention_factor = 1.0;                     // cos and sin are multiplied by it
  /// M-RoPE: how many of the head_dim / 2 frequencies turn with time, row and column; empty: one position a token.
  std::vector<int64_t> sections;
  bool interleaved = false;  // frequencies take time, row, column in turn as far as the sections go; else one by one
};

/// The language model: a pre-norm decoder with gated FFN and grouped-query attention.
struct DecoderSpec {
  int64_t num_hidden_layers = 0;
  int64_t hidden_size = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-5;
  bool attention_bias = false;  // q, k, v carry a bias
  bool output_bias = false;     // so does o
  bool qk_norm = false;         // RMSNorm of q and k over each head, before they turn
  bool tie_word_embeddings = false;
  RopeSpec rope;
  /// Query heads that share one KV head.
  int64_t group_size() const { return num_attention_heads / num_key_value_heads; }
};

enum class NormKind { None, Layer, Rms };

/// A place where rows leave the tower, and where they go.
struct Tap {
  int64_t tower_blocks = 0;   // the output after so many blocks
  int64_t projector = 0;      // index of the projector that it goes through
  int64_t decoder_layer = 0;  // in front of which layer the result enters at the visual rows; 0: it is the embedding
};

/// The vision tower: a pre-norm ViT. What a tower has or lacks is said by fields that do not depend on one another;
/// check_spec names the combinations that the forwards do not compute.
struct VisionSpec {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;  // as in the checkpoint
  std::vector<Tap> taps;          // (a feature layer of -2: one tap after all blocks but one)
  int64_t num_attention_heads = 0;
  int64_t image_size = 0;  // pixels of a square picture's side; 0: any multiple of patch_size * merge_size
  int64_t patch_size = 0;
  int64_t temporal_patch_size = 1;  // frames in a patch
  int64_t merge_size = 1;           // merge_size^2 patches become one visual token
  double layer_norm_eps = 1e-5;     // of every norm in the tower
  Activation hidden_act = Activation::QuickGelu;
  NormKind norm = NormKind::Layer;  // of the blocks; Rms has no bias
  bool class_token = true;          // a learned row in front of the patches, dropped at the end
  bool position_table = true;       // a learned row for each place (and the class token) is added to the embeddings
  bool rotary = false;              // q and k turn by row and column; a class token stays as it is
  bool pre_norm = true;             // a LayerNorm between the embeddings and the blocks
  bool patch_bias = false;
  bool qkv_bias = true;
  bool qk_norm = false;      // RMSNorm of q and k over all heads together
  bool layer_scale = false;  // a factor per channel on what a block adds
  bool gated_mlp = false;    // the widened row is hidden_act(gate) * up
  /// Visual tokens along the side of the windows in which blocks attend, but for whole_blocks; 0: every block attends
  /// in the whole picture. Rows go through the tower window by window.
  int64_t window = 0;
  std::vector<int64_t> whole_blocks;
  int64_t table_side = 0;  // places a side of a table of positions that every picture's patches interpolate in; 0: none
  bool attends_whole(int64_t block) const {
    return window == 0 || std::find(whole_blocks.begin(), whole_blocks.end(), block) != whole_blocks.end();
  }
  /// Blocks that run: those up to the last tap.
  int64_t layers_run() const {
    int64_t blocks = 0;
    for (const Tap& tap : taps) blocks = std::max(blocks, tap.tower_blocks);
    return blocks;
  }
  int64_t head_dim() const { return hidden_size / num_attention_heads; }
  /// Numbers of a patch: channels, frames, rows, columns.
  int64_t patch_values() const { return 3 * temporal_patch_size * patch_size * patch_size; }
  /// Numbers of a square picture, with what lies behind its last whole patch.
  int64_t picture_values() const { return 3 * image_size * image_size; }
  /// Patches along the side of a square picture.
  int64_t grid() const { return image_size / patch_size; }
  /// Rows of the tower for a picture of `patches` patches.
  int64_t positions(int64_t patches) const { return patches + (class_token ? 1 : 0); }
};

/// [visual tokens, merge_size^2 * vision hidden] -> [visual tokens, hidden_size]: two linear layers with an activation
/// between them.
struct ProjectorSpec {
  Activation hidden_act = Activation::Gelu;
  bool bias = true;
  NormKind norm = NormKind::None;  // in front of the layers; Rms has no bias
  bool norm_merged = false;        // of the row of merge_size^2 joined patches; else of each patch before that
  double norm_eps = 1e-5;
  int64_t inner_size = 0;  // rows of the first layer
};

/// The model as a whole: plain numbers. What only its family can say is found by its name (models/family.h), and
/// models/tensors.h lists the tensors.
struct ModelSpec {
  std::string family;        // Family::name
  std::string layout;        // TensorLayout::name of one of its layouts: how the tensors are named
  std::string architecture;  // config.json: architectures[0]
  std::string model_type;
  DecoderSpec text;
  VisionSpec vision;
  ProjectorSpec projector;
  ProjectorSpec tap_projector;  // of each tap that enters in front of a later layer
  ImageSpec image;
  std::string chat_template;          // the prompt template that config.json names, if any
  int64_t image_token_id = 0;         // of the placeholder; -1: only the tokenizer knows
  int64_t video_token_id = -1;        // of a placeholder that prompts must not have; -1: there is none
  bool expanded_placeholders = true;  // one placeholder per visual token, or one per image that no tokenizer knows
  DType dtype = DType::F32;           // of the language model's weights as stored
  fs::path vision_folder;             // the tower's own checkpoint where it has one; empty otherwise
  std::vector<int64_t> eos_token_ids;
  int64_t bos_token_id = 1;
  int64_t pad_token_id = 0;
  /// Taps that enter in front of later layers: behind layer i, tap i + 1 is added to the visual rows (deepstack).
  int64_t deep_taps() const { return vision.taps.empty() ? 0 : int64_t(vision.taps.size()) - 1; }
  /// Visual tokens along the side of a square picture (an image, or a tile); 0 where pictures have any size.
  int64_t token_grid() const { return vision.grid() / vision.merge_size; }
  /// Visual tokens of one square picture; 0 where pictures have any size.
  int64_t image_tokens() const { return token_grid() * token_grid(); }
  /// The longest prompt: dynamic NTK stretches the trained length by its factor.
  int64_t context_length() const {
    const double factor = text.rope.scaling == RopeSpec::Scaling::DynamicNtk ? text.rope.factor : 1.0;
    return int64_t(double(text.max_position_embeddings) * factor);
  }
  /// The side of the grid that figures are given for where no picture is at hand.
  int64_t nominal_grid() const { return token_grid() > 0 ? token_grid() : 24; }
};

/// Reads the spec of a checkpoint by its family's record. UserError for an architecture that no record names (naming
/// those known), a model_type that contradicts it, a missing or absurd size, and a config that contradicts itself.
ModelSpec read_spec(const Checkpoint& checkpoint);

/// The spec of a bare config.json (for bench and dry runs: no weights, no tower folder needed).
ModelSpec spec_from_config(const Json& config, const std::string& where);

/// InternalError, saying what is supported, for a spec that the two forwards do not compute: a tap into the
/// embeddings, and others behind the first decoder layers, one each; class tokens and tables of positions as they are
/// only for square pictures of one size; a gated MLP only with silu; windows only for pictures of any size. What a
/// user's config can get wrong, the families' readers refuse before.
void check_spec(const ModelSpec& spec);

struct OpenModel {
  Checkpoint checkpoint;
  ModelSpec spec;
};
/// Opens a checkpoint; a separate vision tower is folded in under its layout's prefix. Also checks that every tensor of
/// the table is there with its shape (UserError naming tensor, expected and found).
OpenModel open_model(const fs::path& folder);

}  // namespace yopo
