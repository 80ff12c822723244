#include "reference/observers.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/error.h"

namespace yopo {

namespace {

// Rows of activations reduced at once in fp32: few enough to stay in the cache and to lose nothing that matters.
constexpr int64_t activation_rows = 64;

void add_to(double* sums, const at::Tensor& values) {
  const at::Tensor wide = values.to(at::kDouble).contiguous();
  const double* from = wide.data_ptr<double>();
  for (int64_t i = 0; i < wide.numel(); ++i) sums[i] += from[i];
}

}  // namespace

SampleObserver::SampleObserver(const DecoderSpec& spec, const SampleLayout& sample) : spec_(spec), sample_(sample) {
  ensure(sample.padding == 0, "a sample is observed alone");
  const size_t heads = size_t(spec.num_hidden_layers * spec.num_attention_heads);
  const size_t neurons = size_t(spec.num_hidden_layers * spec.intermediate_size);
  for (Masses* masses : {&prefill_, &text_, &decode_}) {
    masses->visual.assign(heads, 0.0);
    masses->other.assign(heads, 0.0);
  }
  sums_.abs_sum.assign(neurons, 0.0);
  sums_.square_sum.assign(neurons, 0.0);
  sums_.active.assign(neurons, 0.0);
  sums_.rows.assign(size_t(spec.num_hidden_layers), 0);
}

Observer SampleObserver::callbacks() {
  Observer observer;
  observer.attention = [this](const AttentionBlock& seen) { see_attention(seen); };
  observer.activation = [this](int64_t layer, int64_t past, const at::Tensor& activation) {
    if (past == 0) see_activation(layer, activation);
  };
  return observer;
}

std::vector<double> SampleObserver::Masses::ratio() const {
  std::vector<double> ratios(visual.size());
  for (size_t i = 0; i < ratios.size(); ++i) ratios[i] = visual[i] / other[i];
  return ratios;
}

SampleStatistics SampleObserver::statistics() const {
  SampleStatistics result = sums_;
  result.ratio_prefill = prefill_.ratio();
  result.ratio_text = text_.ratio();
  if (first_decode_ >= 0) result.ratio_decode = decode_.ratio();
  return result;
}

void SampleObserver::see_attention(const AttentionBlock& seen) {
  const RowBlock& block = seen.block;
  if (block.past > 0 && first_decode_ < 0) first_decode_ = block.past;
  if (block.past > 0 && block.past != first_decode_) return;

  const at::Tensor weights = seen.weights[0];  // [H, R, K]
  at::Tensor visual = at::zeros({weights.size(0), block.rows}, weights.options());
  at::Tensor other = at::zeros_like(visual);
  int64_t end = 0;
  const auto add_mass = [&](at::Tensor& mass, int64_t first, int64_t last) {
    first = std::min(first, block.keys);
    last = std::min(last, block.keys);
    if (last > first) mass.add_(weights.slice(2, first, last).sum(2));
  };
  for (const Span& span : sample_.spans) {
    add_mass(other, end, span.start);
    end = span.start + span.count();
    add_mass(visual, span.start, end);
  }
  add_mass(other, end, block.keys);

  // Which rows are text: 1 or 0 by row.
  std::vector<uint8_t> is_text(size_t(block.rows), 1);
  for (const Span& span : sample_.spans)
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t position = block.past + block.first + r;
      if (position >= span.start && position < span.start + span.count()) is_text[size_t(r)] = 0;
    }

  const int64_t heads = spec_.num_attention_heads;
  for (auto part : {&Masses::visual, &Masses::other}) {
    const at::Tensor masses = (part == &Masses::visual ? visual : other).to(at::kFloat).contiguous();
    const float* values = masses.data_ptr<float>();  // [H, R]
    for (int64_t h = 0; h < heads; ++h) {
      double all = 0, text = 0;
      for (int64_t r = 0; r < block.rows; ++r) {
        const double value = values[h * block.rows + r];
        all += value;
        if (is_text[size_t(r)]) text += value;
      }
      const size_t at = size_t(seen.layer * heads + h);
      if (block.past > 0) {
        (decode_.*part)[at] += all;
      } else {
        (prefill_.*part)[at] += all;
        (text_.*part)[at] += text;
      }
    }
  }
}

void SampleObserver::see_activation(int64_t layer, const at::Tensor& activation) {
  const size_t at = size_t(layer * spec_.intermediate_size);
  for (const Span& span : sample_.spans) {
    for (int64_t done = 0; done < span.count(); done += activation_rows) {
      const int64_t first = span.start + done, last = span.start + std::min(span.count(), done + activation_rows);
      const at::Tensor size = activation[0].slice(0, first, last).to(at::kFloat).abs();  // [rows, F]
      add_to(sums_.abs_sum.data() + at, size.sum(0));
      add_to(sums_.active.data() + at, size.gt(size.mean(1, true)).to(at::kFloat).sum(0));
      add_to(sums_.square_sum.data() + at, at::square(size).sum(0));
    }
    sums_.rows[size_t(layer)] += span.count();
  }
}

}  // namespace yopo
