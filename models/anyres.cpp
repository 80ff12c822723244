#include "models/anyres.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "images/anyres.h"

namespace yopo {

namespace {

/// int(round(x, 7)) of the reference: what is a whole number but for the last digits counts as one.
int64_t whole(double x) { return int64_t(std::nearbyint(x * 1e7) / 1e7); }

/// Python's a // b: the floor of the exact quotient, which a / b may have rounded up to the next whole number.
int64_t floor_division(double a, double b) { return int64_t(std::round((a - std::fmod(a, b)) / b)); }

/// Takes from `length` what lies in front of and behind `shown`; returns how much lies in front.
int64_t unpad(int64_t& length, int64_t shown) {
  const auto padding = int64_t(std::floor(double(length - shown) / 2));
  length -= 2 * padding;
  return padding;
}

AnyResLayout layout_of(const ModelSpec& spec, const std::array<int64_t, 2>& size, bool single) {
  AnyResLayout layout;
  layout.side = spec.token_grid();
  if (single) return layout;
  const auto [height, width] = size;
  const std::array<int64_t, 2> canvas = best_resolution(spec.image, height, width);
  layout.tall = canvas[0] / spec.vision.image_size, layout.wide = canvas[1] / spec.vision.image_size;
  layout.rows = layout.tall * layout.side, layout.columns = layout.wide * layout.side;
  const double ratio = double(width) / double(height), own = double(layout.columns) / double(layout.rows);
  if (ratio > own)
    layout.top = unpad(layout.rows, whole(double(height) * (double(layout.columns) / double(width))));
  else
    layout.left = unpad(layout.columns, whole(double(width) * (double(layout.rows) / double(height))));
  layout.shown_rows = layout.rows, layout.shown_columns = layout.columns;
  if (spec.image.max_grids == 0) return layout;
  const double times =
      std::sqrt(double(layout.rows * layout.columns) / double(spec.image.max_grids * layout.side * layout.side));
  if (times > 1.1) {
    layout.shown_rows = floor_division(double(layout.rows), times);
    layout.shown_columns = floor_division(double(layout.columns), times);
  }
  return layout;
}

/// A place on a line of `from` values, as one of `to` equally wide parts of it sees it: two neighbours, and how much of
/// the second (torch's interpolate without align_corners).
struct Between {
  int64_t first, second;
  float share;
};
Between between(int64_t place, int64_t from, int64_t to) {
  const float scale = float(from) / float(to);
  const float at = from == to ? float(place) : std::max(0.0f, (float(place) + 0.5f) * scale - 0.5f);
  const auto first = std::min(int64_t(at), from - 1);
  return {first, std::min(first + 1, from - 1), at - float(first)};
}

}  // namespace

std::vector<AnyResLayout> anyres_layouts(const ModelSpec& spec, const std::vector<std::array<int64_t, 2>>& sizes) {
  ensure(is_anyres(spec), "a model whose images are tiles on a canvas");
  std::vector<AnyResLayout> layouts;
  for (const auto& size : sizes) layouts.push_back(layout_of(spec, size, spec.image.single_tile && sizes.size() > 1));
  return layouts;
}

TokenMix token_mix(const ModelSpec& spec, const ModelInput& input) {
  TokenMix mix;
  const std::vector<AnyResLayout> layouts = anyres_layouts(spec, input.image_sizes);
  int64_t tiles = 0;
  for (const AnyResLayout& layout : layouts) tiles += layout.tiles();
  const int64_t newline = tiles * spec.image_tokens();
  const auto add = [&](std::array<int64_t, 4> index, std::array<float, 4> weight) {
    for (size_t part = 0; part < 4; ++part) {
      mix.index.push_back(weight[part] == 0 ? 0 : int32_t(index[part]));
      mix.weight.push_back(weight[part]);
    }
  };
  int64_t first = 0;  // of the image's rows
  for (const AnyResLayout& layout : layouts) {
    const int64_t side = layout.side, tile = side * side;
    for (int64_t i = 0; i < tile; ++i) add({first + i, 0, 0, 0}, {1, 0, 0, 0});
    const auto on_canvas = [&](int64_t row, int64_t column) {
      row += layout.top, column += layout.left;
      return first + (1 + row / side * layout.wide + column / side) * tile + row % side * side + column % side;
    };
    for (int64_t row = 0; row < layout.shown_rows; ++row) {
      const Between down = between(row, layout.rows, layout.shown_rows);
      for (int64_t column = 0; column < layout.shown_columns; ++column) {
        const Between across = between(column, layout.columns, layout.shown_columns);
        add({on_canvas(down.first, across.first), on_canvas(down.first, across.second),
             on_canvas(down.second, across.first), on_canvas(down.second, across.second)},
            {(1 - down.share) * (1 - across.share), (1 - down.share) * across.share, down.share * (1 - across.share),
             down.share * across.share});
      }
      add({newline, 0, 0, 0}, {1, 0, 0, 0});
    }
    if (layout.tall == 0) add({newline, 0, 0, 0}, {1, 0, 0, 0});
    first += layout.tiles() * tile;
  }
  return mix;
}

}  // namespace yopo
