// Where the rows of a batch lie: all visual rows of all requests first, then all text rows, so that one matrix product
// over a prefix of the rows or of the weights does each part of the work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/input.h"
#include "runtime/ops.h"
#include "runtime/shared_prefix.h"

namespace yopo::runtime {

/// The rows that a request has of its own; those of a shared prefix are its leader's.
struct RequestRows {
  int64_t visual_row = 0, visual_rows = 0;  // first row in the batch, and how many
  int64_t text_row = 0, text_rows = 0;
  int64_t leader = -1;          // the request whose rows this one's sequence begins with; -1: none
  int64_t text_before = 0;      // text rows among them
  int64_t first_image = 0;      // in Layout::images
  std::vector<int64_t> row_of;  // [T] batch row of each token of the sequence
};

struct Layout {
  int64_t visual_rows = 0, text_rows = 0;  // of the whole batch
  std::vector<RequestRows> requests;
  std::vector<int32_t> before;  // [rows] of the own sequence: text tokens before a visual row, visual before a text row
  std::vector<int32_t> image_of;  // [visual_rows] the own request's image, counted from its first
  std::vector<ImageGrid> images;  // of all requests, each in its own request's visual rows
  int64_t rows() const { return visual_rows + text_rows; }
  /// The first tokens of a request whose rows are its leader's.
  int64_t shared_tokens(size_t request) const {
    const RequestRows& rows = requests[request];
    return int64_t(rows.row_of.size()) - rows.visual_rows - rows.text_rows;
  }
};

/// `shared`: of each request, see shared_prefixes. UserError for spans or positions that do not fit the sequence, and
/// for an empty request.
Layout make_layout(const std::vector<ModelInput>& inputs, const std::vector<SharedPrefix>& shared);

}  // namespace yopo::runtime
