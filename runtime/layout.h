// Where the rows of a batch lie: all visual rows of all requests first, then all text rows, so that one matrix product
// over a prefix of the rows or of the weights does each part of the work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/input.h"
#include "runtime/ops.h"

namespace yopo::runtime {

struct RequestRows {
  int64_t visual_row = 0, visual_rows = 0;  // first row in the batch, and how many
  int64_t text_row = 0, text_rows = 0;
  int64_t first_image = 0;      // in Layout::images
  std::vector<int64_t> row_of;  // [T] batch row of each token of the sequence
};

struct Layout {
  int64_t visual_rows = 0, text_rows = 0;  // of the whole batch
  std::vector<RequestRows> requests;
  std::vector<int32_t> before;  // [rows] of the own request: text tokens before a visual row, visual before a text row
  std::vector<int32_t> image_of;  // [visual_rows] the own request's image, counted from its first
  std::vector<ImageGrid> images;  // of all requests, each in its own request's visual rows
  int64_t rows() const { return visual_rows + text_rows; }
};

/// UserError for spans or positions that do not fit the sequence, and for an empty request.
Layout make_layout(const std::vector<ModelInput>& inputs);

}  // namespace yopo::runtime
