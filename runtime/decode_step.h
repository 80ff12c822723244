// One decode step for a fixed set of requests: buffers once, and on devices that can record, the issued work once.
// Private to runtime/.
#pragma once

#include <vector>

#include "runtime/decoder.h"

namespace yopo::runtime {

class DecodeStep {
 public:
  /// requests: indices into session.requests, each once and live.
  DecodeStep(const EngineState& state, Session& session, const std::vector<int64_t>& requests);
  ~DecodeStep();
  DecodeStep(const DecodeStep&) = delete;
  DecodeStep& operator=(const DecodeStep&) = delete;

  const std::vector<int64_t>& requests() const { return requests_; }
  /// The next token of each request, in the order of requests(); their logits go into session.logits.
  void run(Session& session, const std::vector<int64_t>& tokens);

 private:
  void issue();

  const EngineState& s_;
  std::vector<int64_t> requests_;
  std::vector<Request*> live_;
  std::vector<int64_t> rows_;  // 0, 1, ...: all rows of a step are asked for logits
  Decoder decoder_;
  Buffer logits_;  // [requests, vocab] fp32
  Cost cost_;      // of one step, attention apart
  int64_t runs_ = 0;
  Recording* recording_ = nullptr;
  int64_t generation_ = 0;  // of the weights that were recorded
};

}  // namespace yopo::runtime
