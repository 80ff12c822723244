// The LibTorch forward behind a header without Torch: the oracle for verify and trace, and what calibration runs.
// The differentiable forward itself is reference/decoder.h.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/walk.h"
#include "models/input.h"
#include "models/trace.h"
#include "plans/plan.h"

namespace yopo {

/// How the masking forward treats what a plan drops: the presets of Plan::semantics, and their parts for tests of the
/// published variants (docs/architecture.md).
struct MaskRules {
  bool heads_before_softmax = true;  // dropped (head, visual key) pairs leave the softmax; else zeroed after it
  int64_t heads_from_layer = 0;      // Qwen2-VL's simulation applies the head mask from layer 2
  bool zero_visual_queries = true;   // visual rows get nothing from heads outside `updates`
  enum class Depth { TextBeforeSoftmax, AllAfterSoftmax, QwenLiteral } depth = Depth::TextBeforeSoftmax;
  bool freeze_visual = true;    // visual rows past visual_layers repeat their last value
  bool window_isolates = true;  // with a window, a visual row reads no visual key of another image
  enum class SelfOnly { No, Intended, Literal } self_only = SelfOnly::No;  // Qwen2-VL's "attncut"
};
MaskRules rules_of(Semantics semantics);

struct TorchOptions {
  std::string dtype = "auto";  // auto (as stored, fp16 computed as fp32 on CPU) | fp32 | bf16
  int threads = 0;             // 0: all
  /// Bytes for weights, activations and caches; 0: what the machine has. Where the weights do not fit, layers are
  /// brought in one at a time, and all samples of a call go through one before the next comes. Numbers are the same
  /// whatever the limit.
  int64_t memory = 0;
  Walk::Listener passing = {};  // hears after every layer how far a call has come (core/walk.h)
};

/// What the engine computes in for an option: F32 or BF16. UserError for a dtype the CPU does not compute in.
DType torch_dtype(const ModelSpec& spec, const std::string& dtype);

/// Statistics of one sample over its visual rows and chosen query rows, in double.
struct SampleStatistics {
  std::vector<double> ratio_prefill, ratio_text, ratio_decode;  // [L, H]; ratio_decode only where asked
  std::vector<double> abs_sum, square_sum, active;  // [L, F] over visual rows of act(gate) * up; see Statistics
  std::vector<int64_t> rows;                        // [L] visual rows seen
};

/// For one thread at a time, its const members included. Option `threads` sets LibTorch's number of the whole process.
class TorchEngine {
 public:
  TorchEngine(const OpenModel& model, const TorchOptions& options);
  ~TorchEngine();
  TorchEngine(TorchEngine&&) noexcept;

  const ModelSpec& spec() const;

  /// Whether layers come and go.
  bool streaming() const;
  /// How many samples like this one fit in memory at once beside a layer, if layers come and go; otherwise 1.
  int64_t samples_at_once(const ModelInput& input, bool decode) const;

  /// One sample under a plan; rules default to the plan's semantics.
  Trace trace(const ModelInput& input, const Plan& plan, const TraceOptions& options,
              const MaskRules* rules = nullptr) const;
  /// Several, each with its own options; equal to each alone.
  std::vector<Trace> traces(const std::vector<ModelInput>& inputs, const Plan& plan,
                            const std::vector<TraceOptions>& options, const MaskRules* rules = nullptr) const;
  /// Left- or right-padded batch of several samples, dense or pruned; logits of each sample's own rows: [sample][T_i,
  /// V].
  std::vector<std::vector<float>> batch_logits(const std::vector<ModelInput>& inputs, const Plan& plan) const;
  /// Greedy decoding of each input with a KV cache; stops at eos or after max_new_tokens. Token ids without the prompt.
  std::vector<std::vector<int64_t>> generate(const std::vector<ModelInput>& inputs, const Plan& plan,
                                             int64_t max_new_tokens) const;
  /// Dense forward of each sample with observers in the forward path (never more than one block of attention rows in
  /// memory).
  std::vector<SampleStatistics> observe(const std::vector<ModelInput>& inputs, bool decode_row) const;
  /// Norms of the down-projection's columns [L, F] in double: what score `wanda` multiplies with.
  std::vector<double> down_column_norms() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace yopo
