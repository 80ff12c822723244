// How far a plan's answers are from the dense model's.
#pragma once

#include <memory>
#include <vector>

#include "plans/plan.h"
#include "runtime/engine.h"
#include "search/samples.h"

namespace yopo {

/// Means over samples. KL: KL(dense || pruned) in nats, summed over an answer's tokens.
struct Verdict {
  double loss = 0;  // KL / (1 + KL): what a search makes small; one answer that is lost counts once, however surely
  double kl = 0;
  double same = 0;  // share of samples in which every token of the dense answer stays the likeliest
};

class Judge {
 public:
  /// `engine` is the dense model; `samples` are its own answers (judged_samples). The dense distributions are computed
  /// here and kept. `most_rows`: tokens of a batch.
  Judge(const runtime::Engine& engine, std::vector<JudgedSample> samples, int64_t most_rows = 16384);

  /// Under the plan of `engine`, over samples 0, stride, 2 stride, ... UserError naming the sample that gives NaN.
  Verdict judge(const runtime::Engine& engine, size_t stride = 1) const { return judge(engine, stride, nullptr, 0); }
  /// The same for a plan that differs from that of `between` in layer `first` and behind it only.
  Verdict judge(const runtime::Engine& engine, size_t stride, const std::vector<RowsBetween>* between,
                int64_t first) const;
  /// What judge() would compute between the layers, a part of the samples each.
  std::vector<RowsBetween> rows_between(const runtime::Engine& engine, size_t stride) const;
  /// Bytes of it, about.
  double row_bytes(const DecoderSpec& spec, size_t stride) const;
  const std::vector<JudgedSample>& samples() const { return samples_; }

 private:
  std::vector<std::vector<float>> logits(const runtime::Engine& engine, size_t stride,
                                         const std::vector<RowsBetween>* between, int64_t first,
                                         std::vector<RowsBetween>* keep) const;

  std::vector<JudgedSample> samples_;
  std::vector<std::vector<float>> dense_;  // [sample] of [answer, V]: log-probabilities
  int64_t most_rows_;
};

}  // namespace yopo
