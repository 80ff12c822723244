// What a forward pass leaves behind when somebody wants to compare it: plain numbers, the same from both engines.
#pragma once

#include <cstdint>
#include <vector>

namespace yopo {

struct TraceOptions {
  std::vector<int64_t> decode;  // forced tokens decoded one by one after the prefill
  int64_t generate = 0;         // or: at most so many tokens chosen greedily, until one ends the text (runtime)
  bool hidden = true;           // keep all hidden rows of the prompt
  bool decode_hidden = true;    // and, with these, of the decoded rows (Torch engine)
  bool all_logits = true;       // logits of all rows, or of the last only
  bool statistics = false;      // what calibration sees (Torch engine)
  bool attention = false;       // attention weights (Torch engine; small models)
};

struct Trace {
  int64_t layers = 0, length = 0, hidden_size = 0, vocab_size = 0, heads = 0, intermediate_size = 0;
  std::vector<float> hidden;  // [L+1, T, C]; [0] = input embeddings, [l+1] = output of layer l before the final norm
  std::vector<float> logits;  // [T, V], or [1, V] without all_logits
  std::vector<float> decode_logits;    // [n, V]
  std::vector<int64_t> generated;      // the tokens chosen, without the one that ends the text (runtime)
  std::vector<float> decode_hidden;    // [n, L+1, C] (Torch engine)
  std::vector<float> vision_hidden;    // [images * tokens, vision hidden]: tower output before the projector
  std::vector<float> vision_features;  // [images * tokens, C]: after it
  std::vector<double> ratio_prefill, ratio_text, ratio_decode;  // [L, H]
  std::vector<double> ffn_abs_mean;                             // [L, F] over visual rows
  std::vector<float> attention;                                 // [L, H, T, T], after all masking
  std::vector<float> decode_attention;                          // [n, L, H, T+n], zero-padded
};

}  // namespace yopo
