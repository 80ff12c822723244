// What the families of Qwen's vision models share: Qwen2-VL, Qwen2.5-VL, Qwen3-VL.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "models/families/common_keys.h"
#include "models/families/parts.h"

namespace yopo {

/// Keys of the root of config.json (`decoder`: with the decoder's sizes, which older files have there), of text_config,
/// of vision_config and of the image processor's file.
KnownKeys qwen_root_keys(bool decoder);
KnownKeys qwen_text_keys();
KnownKeys qwen_vision_keys();
KnownKeys qwen_image_keys();
/// Reads the object with which transformers 5 says the tower's rotary embedding.
const KeyReader& qwen_vision_rope_reader();

/// The decoder: M-RoPE, interleaved as `defaults` say, full attention in every layer. `defaults` are those of the
/// family's class in transformers.
DecoderSpec read_qwen_text(const Json& config, const std::string& where, const DecoderSpec& defaults);

/// Counts, patches and activation of a tower over pictures of any size, without class token and table; `defaults` as
/// above. Width and inner width are each family's own.
VisionSpec read_qwen_vision(const Json& config, const std::string& where, const VisionSpec& defaults);

/// UserError unless `key` of the tower is the decoder's width.
void check_tower_output(const Json& config, const char* key, const std::string& where, int64_t hidden_size,
                        int64_t default_size);

/// Decoder and placeholders of config.json, whether its decoder's sizes are in text_config or at the root.
void read_qwen_root(const Json& config, const std::string& where, const KeyReader& root, const KeyReader& text,
                    const DecoderSpec& defaults, ModelSpec& spec);

/// The projector behind the tower: a norm of each patch, `merge_size^2` of them joined, two layers of that width.
ProjectorSpec qwen_projector(const VisionSpec& vision, NormKind norm);

/// How images are prepared where the checkpoint has no file that says it: as published with the family.
struct QwenImages {
  int64_t min_pixels = 0, max_pixels = 0;
  std::array<float, 3> mean, std;
};
/// transformers' Qwen2VLImageProcessor: its defaults (56 * 56 to 28 * 28 * 1280 pixels) where a key is absent, and
/// those published where the file is. The bounds are min_pixels and max_pixels, else those of `size` (which the slow
/// reference, unlike the fast one, overlooks).
ImageSpec read_qwen_images(const Json& config, const std::string& where, const VisionSpec& vision,
                           const KeyReader& reader, const QwenImages& published);

/// Dtype, image rules and special tokens, once the layout is known. UserError for rules that contradict the tower.
void locate_qwen(const Checkpoint& checkpoint, const std::string& published, ModelSpec& spec);

/// `chatml`: as written without a system turn.
std::vector<PromptTemplate> qwen_templates();

}  // namespace yopo
