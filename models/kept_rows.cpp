#include "models/kept_rows.h"

namespace yopo {

void check_kept_rows(const KeptRows& kept, const ModelInput& input, int64_t layers, const std::string& where) {
  require(kept.from_layer >= 0 && kept.from_layer < layers,
          "{}: visual tokens are dropped from layer {} on; the model has layers 0 to {}", where, kept.from_layer,
          layers - 1);
  const int64_t visual = input.visual_tokens();
  int64_t before = -1;
  for (const int64_t row : kept.rows) {
    require(row >= 0 && row < visual, "{}: kept visual token {}: the sample has {} of them", where, row, visual);
    require(row > before, "{}: kept visual token {} comes behind {}: expected them ascending, each once", where, row,
            before);
    before = row;
  }
}

std::vector<uint8_t> kept_tokens(const std::vector<Span>& spans, int64_t length, const KeptRows& kept) {
  std::vector<uint8_t> stays(size_t(length), 1);
  auto next = kept.rows.begin();
  int64_t row = 0;
  for (const Span& span : spans)
    for (int64_t token = span.start; token < span.start + span.count(); ++token, ++row) {
      const bool is_kept = next != kept.rows.end() && *next == row;
      stays[size_t(token)] = is_kept;
      if (is_kept) ++next;
    }
  return stays;
}

std::vector<Span> kept_spans(const std::vector<Span>& spans, const KeptRows& kept) {
  std::vector<Span> runs;
  auto next = kept.rows.begin();
  int64_t row = 0, dropped = 0;
  for (const Span& span : spans) {
    bool open = false;  // runs do not join pictures
    for (int64_t token = span.start; token < span.start + span.count(); ++token, ++row) {
      if (next == kept.rows.end() || *next != row) {
        ++dropped;
        open = false;
        continue;
      }
      if (open)
        ++runs.back().columns;
      else
        runs.push_back({token - dropped, 1, 1});
      open = true;
      ++next;
    }
  }
  return runs;
}

ModelInput without_dropped(const ModelInput& input) {
  ensure(input.kept.has_value(), "an input of which something is dropped");
  const int64_t length = input.length();
  const std::vector<uint8_t> stays = kept_tokens(input.spans, length, *input.kept);
  ModelInput rest;
  rest.position_axes = input.position_axes;
  for (int64_t axis = 0; axis < input.position_axes; ++axis)
    for (int64_t token = 0; token < length; ++token)
      if (stays[size_t(token)]) rest.position_ids.push_back(input.position_ids[size_t(axis * length + token)]);
  rest.spans = kept_spans(input.spans, *input.kept);
  return rest;
}

}  // namespace yopo
