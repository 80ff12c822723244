// What a checkpoint is: a family as data, read from config.json. No Torch here; both forwards run from this.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint.h"

namespace yopo {

enum class Activation { Silu, Gelu, QuickGelu };

/// Rotary embedding in the half-split layout over head_dim. See models/rope.h.
struct RopeSpec {
  double theta = 10000.0;
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
  bool attention_bias = false;      // q, k, v carry a bias
  bool tie_word_embeddings = false;
  RopeSpec rope;
  /// Query heads that share one KV head.
  int64_t group_size() const { return num_attention_heads / num_key_value_heads; }
};

/// The vision tower: a pre-norm ViT with a class token (CLIP).
struct VisionSpec {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;    // as in the checkpoint
  int64_t layers_run = 0;           // blocks whose output is the feature (vision_feature_layer -2: one fewer)
  int64_t num_attention_heads = 0;
  int64_t image_size = 0;
  int64_t patch_size = 0;
  double layer_norm_eps = 1e-5;
  Activation hidden_act = Activation::QuickGelu;
  bool drop_class_token = true;     // vision_feature_select_strategy "default" / mm_vision_select_feature "patch"
  int64_t grid() const { return image_size / patch_size; }
  int64_t positions() const { return grid() * grid() + 1; }
};

/// Two linear layers with an activation between them: [vision hidden] -> [hidden_size].
struct ProjectorSpec {
  Activation hidden_act = Activation::Gelu;
  bool bias = true;
};

/// How an image becomes pixel_values. See models/image_processor.h; models/image_spec.h reads it.
struct ImageSpec {
  /// CLIP and LLaVA; LLaVA's image_aspect_ratio pad; Qwen2-VL; InternVL2.
  enum class Fit { ShortestEdgeCrop, PadToSquare, SmartResize, Tiles } fit = Fit::ShortestEdgeCrop;
  int64_t patch_size = 0;                    // pixels a side of the vision tower's patches
  int64_t resize = 0;                        // shortest edge in pixels (llava-hf) or side (pad)
  int64_t crop_height = 0, crop_width = 0;   // pixels
  int64_t merge_size = 1;                    // SmartResize: patches a side that become one visual token
  int64_t temporal_patch_size = 1;           // SmartResize: frames of a patch; an image's one frame is repeated
  int64_t min_pixels = 0, max_pixels = 0;    // SmartResize: of the resized image
  int64_t tile_size = 0;                     // Tiles: pixels a side
  int64_t min_tiles = 1, max_tiles = 1;      // Tiles: without the thumbnail
  bool thumbnail = false;                    // Tiles: the whole image as one more tile, where there are several
  bool pad_first = false;                    // Tiles: pad to a square of the mean first
  bool do_resize = true, do_center_crop = true, do_rescale = true, do_normalize = true;
  int resample = 3;                          // PIL: 2 bilinear, 3 bicubic
  double rescale_factor = 1.0 / 255.0;
  std::array<float, 3> mean{}, std{};
};

/// The model as a whole. `layout` says where its tensors are; models/tensors.h lists them.
struct ModelSpec {
  std::string family;                  // "llava"
  std::string layout;                  // "llava-hf" | "llava-hf-4.52" | "llava-original"
  std::string architecture;            // config.json: architectures[0]
  std::string model_type;
  DecoderSpec text;
  VisionSpec vision;
  ProjectorSpec projector;
  ImageSpec image;
  int64_t image_token_id = 0;          // 32000, or -200 in the original layout
  bool expanded_placeholders = true;   // one placeholder per visual token (llava-hf) or one per image (original)
  DType dtype = DType::F32;            // of the language model's weights as stored
  std::string decoder_prefix;          // "language_model.model."
  std::string head_prefix;             // "language_model."
  std::string vision_prefix;           // "vision_tower.vision_model."
  std::string projector_prefix;        // "multi_modal_projector."
  fs::path vision_folder;              // original layout: the tower's own checkpoint; empty otherwise
  std::vector<int64_t> eos_token_ids;
  int64_t bos_token_id = 1;
  int64_t pad_token_id = 0;
  /// Visual tokens of one image.
  int64_t image_tokens() const { return vision.grid() * vision.grid() + (vision.drop_class_token ? 0 : 1); }
};

/// Reads the spec of a checkpoint. UserError for an architecture we do not know (naming those we do), a missing or absurd
/// size, and a config that contradicts itself. In the original layout the tower is looked for at `mm_vision_tower`
/// (relative to the checkpoint or its parent, never absolute or outside), or embedded in the checkpoint.
ModelSpec read_spec(const Checkpoint& checkpoint);

/// The spec of a bare config.json (for bench and dry runs: no weights, no tower folder needed).
ModelSpec spec_from_config(const Json& config, const std::string& where);

/// Opens a checkpoint with its separate vision tower, if it has one, folded in under `spec.vision_prefix`.
struct OpenModel {
  Checkpoint checkpoint;
  ModelSpec spec;
};
/// Also checks that every tensor of the table is there with its shape (UserError naming tensor, expected and found).
OpenModel open_model(const fs::path& folder);

}  // namespace yopo
