// One sample, ready for either engine.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "formats/safetensors.h"
#include "models/spec.h"

namespace yopo {

/// One picture's visual tokens in the sequence: [start, start + rows * columns), row-major on its grid. A picture is an
/// image, or a tile of one.
struct Span {
  int64_t start = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t count() const { return rows * columns; }
};

/// Rows and columns of a picture's patches.
using PatchGrid = std::array<int64_t, 2>;

/// The visual tokens of a sample that go on from some layer, where the others end: token dropping, which plans are
/// compared with (models/kept_rows.h). No part of a plan.
struct KeptRows {
  int64_t from_layer = 0;     // the first layer that the others do not reach; 0: they never enter the decoder
  std::vector<int64_t> rows;  // ascending, of the visual tokens of all pictures together
  bool operator==(const KeptRows&) const = default;
};

struct ModelInput {
  std::vector<int64_t> input_ids;     // [T], placeholders expanded to one per visual token; empty if `embeds` is given
  std::vector<int64_t> position_ids;  // [position_axes, T]
  int64_t position_axes = 1;          // 3: along time, row and column (M-RoPE); 1: the same along all
  std::vector<Span> spans;            // ascending, disjoint; one a picture
  /// As the family's processor makes them: [images, 3, image_size, image_size], or, where pictures have any size,
  /// [patches, patch_values] in blocks of merge_size x merge_size. Empty for text alone.
  std::vector<float> pixel_values;
  int64_t images = 0;  // pictures
  /// Height and width of the images that the pictures were cut from (AnyRes); empty where each picture has its span.
  std::vector<std::array<int64_t, 2>> image_sizes;
  std::vector<float> embeds;          // [T, hidden_size] instead of ids and pixels, or empty
  std::vector<float> deepstack;       // with embeds: [deep taps, visual tokens, hidden_size], or empty
  std::optional<KeptRows> kept = {};  // absent: all visual tokens go through all layers
  int64_t length() const { return int64_t(position_ids.size()) / position_axes; }
  int64_t visual_tokens() const;
  int64_t text_tokens() const { return length() - visual_tokens(); }
  /// The position of the first generated token, along every axis.
  int64_t next_position() const;
};

/// The grids of `images` square pictures.
std::vector<PatchGrid> square_grids(const ModelSpec& spec, int64_t images);

/// Expands placeholders (one per picture, or already one per visual token), finds the spans, numbers the positions.
/// `grids`: of each picture. UserError naming `where` when placeholders, pixels and pictures do not match, or an id
/// lies outside the vocabulary. `image_sizes`: of the images that the pictures are tiles of, where they are (AnyRes).
ModelInput make_input(const ModelSpec& spec, std::vector<int64_t> input_ids, std::vector<float> pixel_values,
                      const std::vector<PatchGrid>& grids, const std::string& where,
                      const std::vector<std::array<int64_t, 2>>& image_sizes = {});

/// Fills position_ids: 0, 1, 2, ... or, with M-RoPE, a picture at base b has time b, row b + r and column b + c, and
/// what follows goes on behind the largest.
void number_positions(const ModelSpec& spec, int64_t length, ModelInput& input);

/// UserError naming `where` unless `deepstack` is what the model adds to the input's visual rows: needed with `embeds`
/// where the model has such taps and the input visual tokens, of [deep taps, visual tokens, hidden_size] values.
void check_deepstack(const ModelSpec& spec, const ModelInput& input, const std::string& where);

/// Reads `input_ids`, `pixel_values`, `position_ids`, `image_grid_thw`, or `embeds` with `spans`, `position_ids` and
/// `deepstack`, from a safetensors file (the layout of `yopo trace --inputs`). UserError for anything missing or
/// misshapen.
ModelInput read_input(const ModelSpec& spec, const fs::path& path);

/// 1 for visual positions, [T].
std::vector<uint8_t> visual_mask(const ModelInput& input);

/// UserError unless spans are ascending, disjoint, non-empty and inside [0, length).
void check_spans(const std::vector<Span>& spans, int64_t length, const std::string& where);

}  // namespace yopo
