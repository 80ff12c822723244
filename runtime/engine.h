// The skipping runtime: no Torch. Computes for visual tokens only what the plan keeps, with a KV cache that holds only
// what is read.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/walk.h"
#include "models/input.h"
#include "models/trace.h"
#include "plans/cost.h"
#include "plans/order.h"
#include "plans/plan.h"
#include "runtime/sampler.h"

namespace yopo::runtime {

struct Ops;

struct Options {
  std::string dtype =
      "auto";  // auto (16 bits as stored where the device is fast at them, else fp32) | fp32 | bf16 | fp16
  std::string device = "cpu";  // cpu | cuda | cuda:N
  int threads = 0;             // 0: all
  int64_t memory =
      0;  // bytes for weights, KV caches and activations: layers beyond it are streamed; 0: what the machine has
  bool pack = true;  // weights of layers that are held are copied into the form that products read fastest, where the
                     // device has one; not within a `memory` budget
  bool share_prefixes =
      true;  // of requests of a batch that begin alike; false: a batch counts what its requests alone count
  Walk::Listener passing = {};  // hears after every layer how far a call has come, on the CPU (core/walk.h); of a
                                // prefill with room for more tokens, these included, and decode() goes on there
  const Ops* ops = nullptr;     // a device of the caller's own instead of `device` (tests)
};

/// What an engine with these options computes in for a checkpoint stored in `stored`: F32, BF16 or F16. UserError for a
/// device that is not there and a type that it does not compute in.
DType computing_type(const Options& options, DType stored);

/// What was truly issued and held since the last reset.
struct Counters {
  Cost prefill, decode;         // language model, multiply-adds
  double vision_macs = 0;       // tower and projector
  int64_t kv_bytes = 0;         // bytes of KV entries in use at the end of the last call, all live requests
  int64_t kv_prompt_bytes = 0;  // at the end of the last prefill
  int64_t kv_peak_bytes = 0;
  double prefill_seconds = 0, decode_seconds = 0, vision_seconds = 0;
  double attention_seconds = 0;  // of these, attention itself; only where operations run when they are issued (the CPU)
  int64_t prefill_tokens = 0, decode_tokens = 0;
};

struct Generated {
  std::vector<int64_t> tokens;  // without the prompt, without eos
  bool stopped = false;         // at eos, not at the limit
};

struct GenerateOptions {
  int64_t max_new_tokens = 128;  // of each request
  Sampling sampling;             // a request's tokens do not depend on the rest of the batch
  /// Hears each token of a text when it is chosen, before the next is computed; false ends that request with it. Ends
  /// of a text (eos) are not heard.
  std::function<bool(int64_t request, int64_t token)> chosen = {};
  /// Hears of a request after each decoded row, when its logits are there.
  std::function<void(int64_t request)> decoded = {};
};

/// A batch of live requests and their KV caches. Made by Engine::prefill. It keeps what it points into (weights, plan,
/// device): its engine may be moved, or gone before it. One thread at a time, and none in its engine meanwhile.
class Session;

/// For one thread at a time, its const members included: calls count, stream weights and share scratch. That holds for
/// an engine and its dense() twin together, which share weights; other engines are independent.
class Engine {
 public:
  /// Weights straight from the mapped checkpoint where type and order allow it; a plan whose sets are no prefixes of
  /// the checkpoint's own order (an unexported one) makes a reordered copy in memory. UserError for a plan that is not
  /// `skip`, or does not fit, for a device that is not there, for NaN in weights when they are converted.
  Engine(const OpenModel& model, const Plan& plan, const Options& options);
  /// Random weights of a spec (bench): normal(0, 0.02) from `seed`; a vision tower only with `vision`.
  Engine(const ModelSpec& spec, const Plan& plan, const Options& options, uint64_t seed, bool vision = false);
  /// Weights in `orders` [L], in which the sets of `plan`, and of every plan for under(), are prefixes.
  Engine(const OpenModel& model, const Plan& plan, const std::vector<LayerOrder>& orders, const Options& options);
  ~Engine();
  Engine(Engine&&) noexcept;
  /// The dense model over the very same weights, whatever their order: orders do not change the dense function.
  Engine dense() const;
  /// Another plan, in the checkpoint's own order, over the very same weights. InternalError unless its sets are
  /// prefixes of their order; with `holes` those of heads need not be, at the price of computing what lies between.
  Engine under(const Plan& plan, bool holes = false) const;

  const ModelSpec& spec() const;
  const Plan& plan() const;  // in the checkpoint's own order
  DType dtype() const;       // of weights, activations and KV cache: F32, BF16 or F16
  /// Decoder layers whose weights stay in memory; the others are brought in as the forward comes to them.
  int64_t layers_held() const;
  /// The same of the vision tower.
  int64_t vision_layers_held() const;
  /// Bytes of weights that do not lie in the mapped checkpoint.
  int64_t weight_bytes_owned() const;
  /// Most bytes of activations and KV caches held at once since the last call of this, by the runtime's own accounting
  /// (scratch of oneDNN and of a thread's attention block is not in it).
  int64_t take_peak_bytes() const;
  Counters& counters() const;

  /// Prefill of a batch of requests with different lengths and image counts. `capacity`: tokens that may follow each.
  std::unique_ptr<Session, void (*)(Session*)> prefill(const std::vector<ModelInput>& inputs, int64_t capacity,
                                                       Trace* trace = nullptr) const;  // trace: single request only
  /// Logits of each request's newest row: [requests, V].
  const std::vector<float>& logits(const Session& session) const;
  /// One token for each listed request (indices into the batch) of a session of this engine, as below.
  void decode(Session& session, const std::vector<int64_t>& requests, const std::vector<int64_t>& tokens) const;

  /// Ends a request: its KV cache is freed, its logits stay.
  void release(Session& session, int64_t request) const;

  /// What the last row of each input reads of each of its visual tokens in `layer`: softmax weights, the mean over the
  /// heads. Runs the layers up to it. [inputs][visual tokens]
  std::vector<std::vector<float>> last_row_attention(const std::vector<ModelInput>& inputs, int64_t layer) const;
  /// The same of the class row in the vision tower's last block (Trace::vision_attention). UserError where the tower
  /// has none.
  std::vector<std::vector<float>> class_attention(const std::vector<ModelInput>& inputs) const;

  /// One sample with forced decoding. An input's `kept` is honoured here as everywhere; where there is one, logits of
  /// all rows are those of the rows that stay, and there are no hidden rows to show.
  Trace trace(const ModelInput& input, const TraceOptions& options) const;
  /// A batch of them, with the same forced tokens or each with its own text; what the vision tower gave is kept of a
  /// single sample only.
  std::vector<Trace> traces(const std::vector<ModelInput>& inputs, const TraceOptions& options) const;
  /// Greedy decoding of a batch; finished requests leave it.
  std::vector<Generated> generate(const std::vector<ModelInput>& inputs, int64_t max_new_tokens) const;
  /// The same, sampled and heard token by token. UserError for options out of range.
  std::vector<Generated> generate(const std::vector<ModelInput>& inputs, const GenerateOptions& options) const;
  /// The same of a session just prefilled with room for `max_new_tokens` - 1 more rows each.
  std::vector<Generated> generate(Session& session, const GenerateOptions& options) const;

 private:
  struct State;
  explicit Engine(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  // also of its sessions
};

}  // namespace yopo::runtime
