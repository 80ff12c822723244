#include "reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>

namespace yopo {

namespace {

// Rows of a block: few enough that the scores of all heads stay in the cache, enough to keep the products efficient.
int64_t block_rows(int64_t batch, int64_t heads, int64_t keys) {
  constexpr int64_t scores = int64_t(1) << 20;
  const int64_t rows = scores / std::max<int64_t>(1, batch * heads * keys);
  return std::clamp<int64_t>(rows / 16 * 16, 32, 256);
}

bool drops(const Pass& pass, int64_t layer) {
  return std::any_of(pass.samples.begin(), pass.samples.end(),
                     [layer](const SampleLayout& sample) { return sample.drops_in(layer); });
}

bool padded(const Pass& pass) {
  return std::any_of(pass.samples.begin(), pass.samples.end(), [](const SampleLayout& s) { return s.padding > 0; });
}

// Pairs taken out before the softmax: bool [B, 1, R, K], or [B, H, R, K] where heads differ.
at::Tensor blocked_pairs(int64_t layer, const LayerRule& rule, const at::Tensor& visual, const RowBlock& block,
                         const Pass& pass) {
  const int64_t batch = int64_t(pass.samples.size());
  at::Tensor blocked = at::empty({batch, 1, block.rows, block.keys}, at::kBool);
  auto* bytes = reinterpret_cast<uint8_t*>(blocked.data_ptr<bool>());
  for (int64_t b = 0; b < batch; ++b) {
    const SampleLayout& sample = pass.samples[size_t(b)];
    mark_blocked(sample, rule.mask, block, bytes + b * block.rows * block.keys);
    if (sample.drops_in(layer)) mark_dropped(sample, block, bytes + b * block.rows * block.keys);
  }
  if (!rule.lost_heads.defined()) return blocked;
  return blocked.logical_or(rule.lost_heads.view({1, -1, 1, 1}).logical_and(visual.view({batch, 1, 1, -1})));
}

// Factors of the published self-only variant: [B, 1, R, K].
at::Tensor score_factors(const RowBlock& block, const Pass& pass) {
  const int64_t batch = int64_t(pass.samples.size());
  at::Tensor factors = at::empty({batch, 1, block.rows, block.keys}, at::kFloat);
  for (int64_t b = 0; b < batch; ++b)
    literal_factors(pass.samples[size_t(b)], block, factors.data_ptr<float>() + b * block.rows * block.keys);
  return factors;
}

// Masks `scores` [B, H, R, K] in place. The least finite number instead of -inf keeps a row that reads nothing finite.
void mask_scores(int64_t layer, const LayerRule& rule, at::Tensor& scores, const at::Tensor& visual,
                 const RowBlock& block, const Pass& pass, bool causal_only) {
  const double lowest = std::numeric_limits<float>::lowest();
  if (causal_only) {
    const int64_t diagonal = block.past + block.first;
    if (block.rows == 1) return;
    const at::Tensor later = at::ones({block.rows, block.rows}, at::kBool).triu_(1);
    scores.slice(3, diagonal, diagonal + block.rows).masked_fill_(later, lowest);
    return;
  }
  scores.masked_fill_(blocked_pairs(layer, rule, visual, block, pass), lowest);
}

// Attention of one block: q [B, H, R, D], k and v [B, KV, K, D] -> [B, H, R, D].
at::Tensor attend_block(int64_t layer, const LayerRule& rule, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const at::Tensor& visual, const RowBlock& block, const Pass& pass,
                        bool causal_only) {
  const int64_t batch = q.size(0), heads = q.size(1), size = q.size(3), groups = k.size(1);
  // Query heads that share a KV head are rows of the same product.
  const at::Tensor grouped = q.reshape({batch, groups, heads / groups * block.rows, size});
  at::Tensor scores = at::matmul(grouped, k.transpose(2, 3)).view({batch, heads, block.rows, block.keys});
  scores = scores.to(at::kFloat);
  if (rule.mask.self_only == MaskRules::SelfOnly::Literal) scores = scores * score_factors(block, pass);
  mask_scores(layer, rule, scores, visual, block, pass, causal_only);
  at::Tensor weights = at::softmax(scores, -1);
  if (rule.visual_weight.defined()) {
    const at::Tensor factor =
        at::where(visual.view({batch, 1, 1, -1}), rule.visual_weight.view({1, -1, 1, 1}).to(at::kFloat),
                  at::ones({}, at::kFloat));
    weights = weights * factor;
  }
  if (pass.observer && pass.observer->attention) pass.observer->attention({layer, block, weights});
  const at::Tensor rows = weights.to(v.scalar_type()).view({batch, groups, heads / groups * block.rows, block.keys});
  return at::matmul(rows, v).view({batch, heads, block.rows, size});
}

}  // namespace

at::Tensor attend(int64_t layer, const LayerRule& rule, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& visual, const Pass& pass) {
  const int64_t batch = q.size(0), heads = q.size(1), rows = q.size(2), size = q.size(3);
  const int64_t past = k.size(2) - rows;
  const double scale = 1.0 / std::sqrt(double(size));
  const bool causal_only =
      rule.mask.causal_only() && !rule.lost_heads.defined() && !padded(pass) && !drops(pass, layer);
  const bool observed = pass.observer && pass.observer->attention;
  if (!observed && causal_only && rule.plain_attention() && (past == 0 || rows == 1)) {
    const at::Tensor mixed =
        at::scaled_dot_product_attention(q, k, v, {}, 0.0, past == 0 && rows > 1, scale, q.size(1) != k.size(1));
    return mixed.transpose(1, 2).reshape({batch, rows, heads * size});
  }
  const at::Tensor scaled = q * scale;
  std::vector<at::Tensor> blocks;
  const int64_t step = block_rows(batch, heads, past + rows);
  for (int64_t first = 0; first < rows; first += step) {
    RowBlock block{past, rows, first, std::min(step, rows - first), 0};
    block.keys = key_limit(pass.samples, rule.mask, block);
    const at::Tensor near_visual = visual.slice(1, 0, block.keys);
    at::Tensor mixed = attend_block(layer, rule, scaled.slice(2, first, first + block.rows), k.slice(2, 0, block.keys),
                                    v.slice(2, 0, block.keys), near_visual, block, pass, causal_only);
    if (rule.visual_output.defined()) {
      const at::Tensor own = visual.slice(1, past + first, past + first + block.rows).view({batch, 1, -1, 1});
      mixed =
          mixed * at::where(own, rule.visual_output.view({1, -1, 1, 1}), at::ones({}, rule.visual_output.options()));
    }
    blocks.push_back(mixed.transpose(1, 2));
  }
  const at::Tensor all = blocks.size() == 1 ? blocks.front() : at::cat(blocks, 1);
  return all.reshape({batch, rows, heads * size});
}

}  // namespace yopo
