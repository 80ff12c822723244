// Token dropping as a control: what is left of a sample from the layer on where some of its visual tokens end.
#pragma once

#include <string>

#include "models/input.h"

namespace yopo {

/// UserError naming `where` unless the layer is one of `layers` and the rows are ascending, without repeats, and among
/// the input's visual tokens.
void check_kept_rows(const KeptRows& kept, const ModelInput& input, int64_t layers, const std::string& where);

/// Which tokens of the sequence stay: [length], 1 for text and for the visual tokens that are kept.
std::vector<uint8_t> kept_tokens(const std::vector<Span>& spans, int64_t length, const KeptRows& kept);

/// Kept tokens as runs 1 x n, in the coordinates of the shorter sequence.
std::vector<Span> kept_spans(const std::vector<Span>& spans, const KeptRows& kept);

/// Positions and spans of what stays: every token at the position that it had. Without ids, pixels and embeddings.
ModelInput without_dropped(const ModelInput& input);

}  // namespace yopo
