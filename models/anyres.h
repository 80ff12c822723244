// Images of several tiles as one grid of visual tokens (LLaVA-NeXT, LLaVA-OneVision): a base tile, then the canvas
// without its padding, with a newline behind each row. The newlines are the grid's last column.
#pragma once

#include "models/input.h"

namespace yopo {

/// What becomes of an image of one size. Rows and columns are of visual tokens.
struct AnyResLayout {
  int64_t side = 0;                           // of a tile
  int64_t tall = 0, wide = 0;                 // tiles of the canvas; 0: the image is its base tile
  int64_t top = 0, left = 0;                  // where the canvas's padding ends
  int64_t rows = 0, columns = 0;              // of the canvas without it
  int64_t shown_rows = 0, shown_columns = 0;  // of these, as many as remain where they are too many
  int64_t tiles() const { return 1 + tall * wide; }
  /// The base tile, and what follows it: the canvas with its newlines, or one newline.
  std::array<Span, 2> spans() const {
    return {Span{0, side, side}, Span{side * side, tall > 0 ? shown_rows : 1, tall > 0 ? shown_columns + 1 : 1}};
  }
  int64_t tokens() const { return spans()[0].count() + spans()[1].count(); }
};

inline bool is_anyres(const ModelSpec& spec) { return spec.image.fit == ImageSpec::Fit::AnyRes; }

/// Whether what the tower's class row reads is there for each visual token (Trace::vision_attention): of tiles that are
/// joined to a grid it is not.
inline bool has_class_attention(const ModelSpec& spec) {
  return spec.vision.class_token && spec.vision.layers_run() > 0 && !is_anyres(spec);
}

/// Of each of a prompt's images, by their heights and widths: several are a tile each where the spec says so.
std::vector<AnyResLayout> anyres_layouts(const ModelSpec& spec, const std::vector<std::array<int64_t, 2>>& sizes);

/// Where the visual tokens of an input come from: each is the sum of four rows by weight, of the features of its tiles
/// and, behind these, of the newline. Rows of weight 0 are 0.
struct TokenMix {
  std::vector<int32_t> index;  // [visual tokens, 4]
  std::vector<float> weight;   // [visual tokens, 4]
};
TokenMix token_mix(const ModelSpec& spec, const ModelInput& input);

}  // namespace yopo
