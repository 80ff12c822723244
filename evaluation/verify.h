// Proves a pruned checkpoint on the user's own samples: Torch against runtime, counted against promised.
#pragma once

#include "core/json.h"
#include "datasets/sample.h"
#include "models/prompt.h"
#include "models/trace.h"

namespace yopo {

struct VerifyCheck {
  std::string name;
  double value = 0, limit = 0;
  bool passed = false;
};
struct VerifyResult {
  bool passed = false;
  std::vector<VerifyCheck> checks;
  Json flops = Json::object(), kv_bytes = Json::object();
  std::string inputs;  // fingerprint of what was verified on what; "": not recorded
};
struct VerifyOptions {
  fs::path original;  // the dense checkpoint it came from; empty: that comparison is left out
  std::vector<Sample> samples;
  int threads = 0;
  int64_t memory = 0;          // bytes; beyond it engines come one at a time and their layers are streamed; 0: what
                               // the machine has
  std::string device = "cpu";  // of the runtime; the masking forward runs on the CPU
  int64_t max_new_tokens = 16;
  PromptOptions prompts;
  std::string budget;  // which plan of a checkpoint with several; "": the default
};
/// Checks: `skip_logits` (runtime against Torch under the same plan, max |difference| / max |logit|, fp32, <= 1e-4; the
/// prompt's rows and the decoded ones), `skip_hidden` (the same of every layer's rows of the prompt), `skip_text`
/// (share of samples whose greedy text differs, 0), `dense_logits` (the reordered checkpoint run dense against the
/// original, <= 1e-4), `flops_counted` and `kv_counted`
/// (|counted - promised|, 0). A NaN fails every comparison.
VerifyResult verify(const OpenModel& pruned, const VerifyOptions& options);
/// The largest difference of two traces' logits, of the prompt's rows and the decoded ones, relative to the largest of
/// `b` among its kind; infinite where one has other rows or a value is no number.
double logits_difference(const Trace& a, const Trace& b);
/// Whether an engine that was given `tokens` to decode would have chosen them: behind the prompt and each of them its
/// largest logit (the first among equals) is that of the next, and behind a text shorter than `limit` that of one in
/// `eos`.
bool would_choose(const Trace& given, const std::vector<int64_t>& tokens, int64_t limit,
                  const std::vector<int64_t>& eos);
Json verify_to_json(const VerifyResult& result);
/// UserError naming `where` for what is no such result.
VerifyResult verify_from_json(const Json& json, const std::string& where);

}  // namespace yopo
