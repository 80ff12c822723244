// What a forward pass leaves behind when somebody wants to compare it: plain numbers, the same from both engines.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/dtype.h"

namespace yopo {

/// The visual rows of a batch behind one layer, on the host (runtime, CPU).
struct VisualRows {
  int64_t layer = 0, rows = 0;
  const void* normed = nullptr;  // [rows, C] of `type`: as the layer's FFN reads them
  DType type = DType::F32;
  float* x = nullptr;  // [rows, C] the layer's output; what is written here goes on
};

/// The rows of a batch between layers, in an order of the engine's own: to go on from there with other layers.
using RowsBetween = std::vector<std::vector<float>>;  // [L] before layer l: [rows, C]; [L], if any, what is added later

struct TraceOptions {
  std::vector<int64_t> decode;  // forced tokens decoded one by one after the prefill
  int64_t generate = 0;         // or: at most so many tokens chosen greedily, until one ends the text (runtime)
  bool hidden = true;           // keep all hidden rows of the prompt
  bool embeddings = false;      // or the input embeddings alone (runtime)
  bool decode_hidden = true;    // and, with these, of the decoded rows (Torch engine)
  bool all_logits = true;       // logits of all rows, or of the last only
  int64_t last_logits = 1;      // ... or of so many last ones, as far as there are (runtime)
  std::function<void(const VisualRows&)> visual_rows = {};  // after each layer that is alive (runtime, CPU)
  RowsBetween* keep_rows = nullptr;                         // filled (runtime, CPU)
  const RowsBetween* from_rows = nullptr;  // of the same inputs: layers before `first_layer` are not computed
  int64_t first_layer = 0;
  bool statistics = false;  // what calibration sees (Torch engine)
  bool attention = false;   // attention weights (Torch engine; small models)
};

struct Trace {
  int64_t layers = 0, length = 0, hidden_size = 0, vocab_size = 0, heads = 0, intermediate_size = 0;
  std::vector<float> hidden;  // [L+1, T, C]; [0] = input embeddings, [l+1] = output of layer l before the final norm
  std::vector<float> logits;  // [T, V], or [1, V] without all_logits
  std::vector<float> decode_logits;     // [n, V]
  std::vector<int64_t> generated;       // the tokens chosen, without the one that ends the text (runtime)
  std::vector<float> decode_hidden;     // [n, L+1, C] (Torch engine)
  std::vector<float> vision_hidden;     // [images * tokens, vision hidden]: tower output before the projector
  std::vector<float> vision_features;   // [images * tokens, C]: after it
  std::vector<float> vision_attention;  // [images * tokens]: what the class row of the tower's last block reads of each
                                        // visual token, mean over heads (and its patches); empty: there is no such row
  std::vector<double> ratio_prefill, ratio_text, ratio_decode;  // [L, H]
  std::vector<double> ffn_abs_mean;                             // [L, F] over visual rows
  std::vector<float> attention;                                 // [L, H, T, T], after all masking
  std::vector<float> decode_attention;                          // [n, L, H, T+n], zero-padded
};

}  // namespace yopo
