#include "search/judge.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/interrupt.h"

namespace yopo {
namespace {

/// Log-probabilities of one row in place. UserError naming `where` for NaN or Inf.
void log_softmax(float* row, size_t count, const std::string& where) {
  float most = row[0];
  for (size_t i = 0; i < count; ++i) {
    require(std::isfinite(row[i]), "{}: the model gives {} as a logit of this sample", where, row[i]);
    most = std::max(most, row[i]);
  }
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(double(row[i] - most));
  const double log_sum = std::log(sum) + double(most);
  for (size_t i = 0; i < count; ++i) row[i] = float(double(row[i]) - log_sum);
}

}  // namespace

Judge::Judge(const runtime::Engine& engine, std::vector<JudgedSample> samples, int64_t most_rows)
    : samples_(std::move(samples)), most_rows_(most_rows) {
  require(!samples_.empty(), "search: no samples with images");
  dense_ = logits(engine, 1, nullptr, 0, nullptr);
}

std::vector<RowsBetween> Judge::rows_between(const runtime::Engine& engine, size_t stride) const {
  std::vector<RowsBetween> rows;
  (void)logits(engine, stride, nullptr, 0, &rows);
  return rows;
}

double Judge::row_bytes(const DecoderSpec& spec, size_t stride) const {
  double rows = 0;
  for (size_t i = 0; i < samples_.size(); i += stride) rows += double(samples_[i].input.length());
  return rows * double(spec.hidden_size * spec.num_hidden_layers) * sizeof(float);
}

std::vector<std::vector<float>> Judge::logits(const runtime::Engine& engine, size_t stride,
                                              const std::vector<RowsBetween>* between, int64_t first_layer,
                                              std::vector<RowsBetween>* keep) const {
  const auto vocabulary = size_t(engine.spec().text.vocab_size);
  std::vector<size_t> which;
  for (size_t i = 0; i < samples_.size(); i += stride) which.push_back(i);
  std::vector<std::vector<float>> rows;
  size_t batch = 0;
  for (size_t first = 0; first < which.size();) {
    // As many as fit; the traces of one call have as many logits as its longest answer.
    std::vector<ModelInput> inputs;
    int64_t length = 0, answer = 1;
    size_t last = first;
    for (; last < which.size(); ++last) {
      const JudgedSample& sample = samples_[which[last]];
      if (last > first && length + sample.input.length() > most_rows_) break;
      length += sample.input.length();
      answer = std::max(answer, sample.answer);
      inputs.push_back(sample.input);
    }
    TraceOptions options;
    options.hidden = options.all_logits = false;
    options.last_logits = answer;
    if (keep) options.keep_rows = &keep->emplace_back();
    if (between) options.from_rows = &between->at(batch), options.first_layer = first_layer;
    ++batch;
    std::vector<Trace> traces = engine.traces(inputs, options);
    for (size_t i = first; i < last; ++i) {
      const JudgedSample& sample = samples_[which[i]];
      std::vector<float> own = std::move(traces[i - first].logits);
      own.erase(own.begin(), own.end() - std::ptrdiff_t(size_t(sample.answer) * vocabulary));
      for (int64_t row = 0; row < sample.answer; ++row)
        log_softmax(own.data() + size_t(row) * vocabulary, vocabulary, sample.where);
      rows.push_back(std::move(own));
    }
    first = last;
    check_interrupt();
  }
  return rows;
}

Verdict Judge::judge(const runtime::Engine& engine, size_t stride, const std::vector<RowsBetween>* between,
                     int64_t first) const {
  const auto vocabulary = size_t(engine.spec().text.vocab_size);
  std::vector<size_t> which;
  for (size_t i = 0; i < samples_.size(); i += stride) which.push_back(i);
  const std::vector<std::vector<float>> pruned = logits(engine, stride, between, first, nullptr);
  Verdict verdict;
  for (size_t i = 0; i < which.size(); ++i) {
    const std::vector<float>& dense = dense_[which[i]];
    bool same = true;
    double sum = 0;
    for (size_t row = 0; row * vocabulary < dense.size(); ++row) {
      const auto begin = dense.begin() + std::ptrdiff_t(row * vocabulary), end = begin + std::ptrdiff_t(vocabulary);
      const auto other = pruned[i].begin() + std::ptrdiff_t(row * vocabulary);
      double kl = 0;
      for (size_t v = 0; v < vocabulary; ++v)
        kl += std::exp(double(begin[std::ptrdiff_t(v)])) *
              (double(begin[std::ptrdiff_t(v)]) - double(other[std::ptrdiff_t(v)]));
      sum += kl;
      same = same && std::max_element(begin, end) - begin ==
                         std::max_element(other, other + std::ptrdiff_t(vocabulary)) - other;
    }
    verdict.kl += sum;
    verdict.loss += std::max(sum, 0.0) / (1 + std::max(sum, 0.0));
    verdict.same += same;
  }
  verdict.loss /= double(which.size());
  verdict.kl /= double(which.size());
  verdict.same /= double(which.size());
  return verdict;
}

}  // namespace yopo
