// The only FLOPs and KV-cache formulas of the project. FLOPs are 2 x multiply-adds of matrix products and attention.
#pragma once

#include <cstdint>
#include <vector>

#include "models/input.h"
#include "plans/plan.h"

namespace yopo {

/// Convention `paper`: visual tokens in the language model only. Dense: 2 L (4 n d^2 + 2 n^2 d + 3 n d m) with n visual
/// tokens (arXiv 2410.06169, section 3). Pruned, per layer that is alive, with k kept and u updated heads of H
/// and F kept neurons: 2 (2 (k + u)/H n d^2 + 2 (u/H) s n^2 d + 3 n d F + 2 n d r), with r the compensation's rank,
/// where s is the share of the n^2 visual pairs that lie within the window on this grid, borders counted as they are
/// and causality not counted (neither is it when dense). 24 of 32 heads, half the neurons, 16 of 32 layers and a 5 x 5
/// window give 28.5% of LLaVA-1.5-7B, the paper's figure.
double paper_flops(const Plan& plan, const DecoderSpec& spec, int64_t visual_tokens, int64_t grid_rows,
                   int64_t grid_columns);

/// Where the tokens of a prompt are: all that exact accounting needs.
struct PromptShape {
  int64_t length = 0;
  std::vector<Span> spans;
  /// Where visual tokens are dropped: from this layer on only these of them are there, as runs 1 x n (KeptRows). -1:
  /// nowhere. Convention `paper` does not know of it.
  int64_t kept_from = -1;
  std::vector<Span> kept = {};
};
PromptShape shape_of(const ModelInput& input);
/// Of all images, dropped ones included.
int64_t visual_tokens(const PromptShape& prompt);
/// What layer `layer` sees of the prompt.
PromptShape shape_at(const PromptShape& prompt, int64_t layer);
/// The same prompt with these of its visual tokens only, from layer `kept_from` on.
PromptShape with_kept(const PromptShape& prompt, const KeptRows& kept);
/// `visual` tokens as one rows x columns image after `before` text tokens, `after` text tokens behind it.
PromptShape single_image_shape(int64_t before, int64_t rows, int64_t columns, int64_t after);

/// Convention `paper` for a prompt: the sum over its images, each counted alone.
double paper_flops(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt);

/// Attended (query, key) pairs of one prompt's prefill, per head.
struct PairCounts {
  int64_t text_text = 0;      // text queries x text keys (causal)
  int64_t text_visual = 0;    // text queries x earlier visual keys
  int64_t visual_text = 0;    // visual queries x earlier text keys
  int64_t visual_visual = 0;  // visual queries x visual keys (causal, or the window's)
};
PairCounts count_pairs(const PromptShape& prompt, const std::optional<Window>& window);

/// What the runtime issues in the language model, by kind; multiply-adds.
struct Cost {
  double projections = 0;  // q, k, v, o
  double attention = 0;    // scores and weighted values
  double ffn = 0;
  double head = 0;  // lm_head
  double macs() const { return projections + attention + ffn + head; }
  double flops() const { return 2 * macs(); }
  Cost& operator+=(const Cost& other);
  bool operator==(const Cost&) const = default;
};

/// Convention `exact`: prefill of one prompt with logits of its last row (or of `logit_rows` rows).
/// Per layer, with N visual and M text rows, U updated heads, K kept heads, G KV heads with a kept query head and F
/// neurons and compensation of rank R (all zero where the layer is not alive): projections M C D (2 H + 2 KV) + N C D
/// (2 U + 2 G); attention 2 D (pairs of every head within the layer's window); ffn 3 C (M I + N F) + 2 C N R.
Cost prefill_cost(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t logit_rows = 1);
/// One layer of it; the sum over layers and the head are the whole.
Cost layer_prefill_cost(const LayerPlan& layer, const DecoderSpec& spec, const PromptShape& prompt);
/// The part of prefill_cost that visual tokens cause: prefill_cost(plan, prompt) less that of the same text alone.
Cost visual_cost(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt);
/// One decoded token after `generated` tokens before it (it reads itself, too).
Cost decode_cost(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t generated);

/// KV-cache entries (key and value of one KV head for one token count as 2 head_dim elements) times `element_size`:
/// every text (and generated) token in all layers and KV heads; a visual token in layers that are alive for KV heads
/// with a kept query head.
int64_t kv_bytes(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t generated,
                 int64_t element_size);

/// Bytes of decoder and lm_head weights that one pass must read, by the declaration of tensors: all of them if there is
/// any text row. Of the embeddings a pass reads a few rows only; they are not counted.
double weight_bytes(const DecoderSpec& spec, int64_t element_size);

}  // namespace yopo
