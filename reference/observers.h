// What calibration sees of one sample, gathered from inside the forward pass. For Torch sources only.
#pragma once

#include "reference/decoder.h"

namespace yopo {

/// Sums over one sample of one prefill and, if it follows, the first decoded token. Attention is reduced block by block
/// to two numbers a head and row (mass on visual keys, mass on all others), activations to one number a neuron; sums
/// over rows are double.
class SampleObserver {
 public:
  /// `sample` must be alone in its batch (no padding).
  SampleObserver(const DecoderSpec& spec, const SampleLayout& sample);
  SampleObserver(const SampleObserver&) = delete;
  SampleObserver& operator=(const SampleObserver&) = delete;

  /// The callbacks; valid while this object lives and stays where it is.
  Observer callbacks();
  /// Ratios are visual mass over other mass. `ratio_decode` is empty unless a token was decoded.
  SampleStatistics statistics() const;

 private:
  struct Masses {
    std::vector<double> visual, other;  // [L, H]
    std::vector<double> ratio() const;
  };
  void see_attention(const AttentionBlock& seen);
  void see_activation(int64_t layer, const at::Tensor& activation);

  DecoderSpec spec_;
  SampleLayout sample_;
  Masses prefill_, text_, decode_;
  int64_t first_decode_ = -1;  // keys before the first decoded token; -1 before there is one
  SampleStatistics sums_;
};

}  // namespace yopo
