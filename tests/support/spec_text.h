// Everything a spec says, as text: two specs are equal where their texts are.
#pragma once

#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/spec.h"

namespace yopo::testing {

inline std::string text_of(const RopeSpec& r) {
  return fmt::format("rope {} {} {} {} {} {} {} {} {} {} {} {} {} {}\n", r.theta, int(r.scaling), r.original_positions,
                     r.factor, r.beta_fast, r.beta_slow, r.truncate, r.low_freq_factor, r.high_freq_factor,
                     fmt::join(r.short_factor, ","), fmt::join(r.long_factor, ","), r.attention_factor,
                     fmt::join(r.sections, ","), r.interleaved);
}

inline std::string text_of(const DecoderSpec& d) {
  return fmt::format("decoder {} {} {} {} {} {} {} {} {} {} {} {} {}\n", d.num_hidden_layers, d.hidden_size,
                     d.num_attention_heads, d.num_key_value_heads, d.head_dim, d.intermediate_size, d.vocab_size,
                     d.max_position_embeddings, d.rms_norm_eps, d.attention_bias, d.output_bias, d.qk_norm,
                     d.tie_word_embeddings) +
         text_of(d.rope);
}

inline std::string text_of(const VisionSpec& v) {
  std::string text = fmt::format("vision {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", v.hidden_size,
                                 v.intermediate_size, v.num_hidden_layers, v.num_attention_heads, v.image_size,
                                 v.patch_size, v.temporal_patch_size, v.merge_size, v.layer_norm_eps, int(v.hidden_act),
                                 int(v.norm), v.class_token, v.position_table, v.rotary, v.pre_norm, v.patch_bias,
                                 v.qkv_bias, v.qk_norm, v.layer_scale, v.gated_mlp);
  for (const Tap& tap : v.taps)
    text += fmt::format(" tap {} {} {}", tap.tower_blocks, tap.projector, tap.decoder_layer);
  return text + fmt::format(" windows {} {} table {}\n", v.window, fmt::join(v.whole_blocks, ","), v.table_side);
}

inline std::string text_of(const ProjectorSpec& p) {
  return fmt::format("projector {} {} {} {} {} {}\n", int(p.hidden_act), p.bias, int(p.norm), p.norm_merged, p.norm_eps,
                     p.inner_size);
}

inline std::string text_of(const ImageSpec& i) {
  std::string canvases;
  for (const auto& [height, width] : i.resolutions) canvases += fmt::format(" {}x{}", height, width);
  return fmt::format("image{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}\n",
                     canvases, i.max_grids, i.single_tile, int(i.fit), i.patch_size, i.resize, i.crop_height,
                     i.crop_width, i.merge_size, i.temporal_patch_size, i.min_pixels, i.max_pixels, i.tile_size,
                     i.min_tiles, i.max_tiles, i.thumbnail, i.pad_first, i.do_resize, i.do_center_crop, i.do_rescale,
                     i.do_normalize, i.resample, i.rescale_factor, fmt::join(i.mean, ","), fmt::join(i.std, ","),
                     fmt::join(i.pad_color, ","), int(i.backend));
}

inline std::string text_of(const ModelSpec& m) {
  return fmt::format("model {} {} {} {} {} {} {} {} {} {} {} {} {} {}\n", m.family, m.layout, m.architecture,
                     m.model_type, m.chat_template, m.image_token_id, m.video_token_id, m.expanded_placeholders,
                     int(m.dtype), m.vision_folder.string(), fmt::join(m.eos_token_ids, ","), m.bos_token_id,
                     m.pad_token_id, m.context_length()) +
         text_of(m.text) + text_of(m.vision) + text_of(m.projector) + text_of(m.tap_projector) + text_of(m.image);
}

}  // namespace yopo::testing
