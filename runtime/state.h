// What an engine and a session hold, and the parts of the forward. Private to runtime/.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "runtime/engine.h"
#include "runtime/kv_cache.h"
#include "runtime/layer_slices.h"
#include "runtime/layout.h"
#include "runtime/ranges.h"
#include "runtime/weights.h"

namespace yopo::runtime {

/// A layer's compensation on the device; buffers are empty where there is none, `down` and `up` where its rank is 0.
struct LayerCompensation {
  Buffer down, up;  // [rank, hidden] and [hidden, rank] of the weights' type
  Buffer bias;      // [hidden] fp32
  int64_t rank = 0;
};

/// Of a layer whose weights are merged.
struct HeadColumns {
  LayerColumns at;
  Buffer q, out;        // at.q and at.out on the device
  Reaches reaches;      // of visual rows
  int64_t neurons = 0;  // up to which gate and up are split
};

/// Engine's private state, under a name that the parts of the forward may use.
struct EngineState {
  ModelSpec spec;
  Plan plan;                                          // as given, in the checkpoint's order
  std::vector<LayerOrder> orders;                     // of the weights
  std::vector<LayerSlices> layers;                    // in the weights' order
  std::vector<std::pair<Buffer, Buffer>> head_flags;  // per layer kept and updated, [heads] bytes on the device
  std::vector<LayerCompensation> compensation;        // per layer
  std::vector<HeadColumns> columns;                   // per layer, of merged weights
  std::shared_ptr<Weights> weights;
  std::function<std::shared_ptr<Weights>(const Arrangement&)> load;  // once more
  int64_t memory_budget = 0;    // bytes for weights, KV caches and activations; 0: no limit
  bool default_budget = false;  // nobody asked for it: what was free on the device when the weights came
  const Ops* ops = nullptr;
  int threads = 0;
  bool share_prefixes = true;
  mutable Counters counters;
  mutable MemoryUse memory;  // activations and KV caches
  mutable Walk walk;
  mutable LayerRanges* ranges = nullptr;  // of the walk under way

  /// A layer's work is done. What a device was only told to do, perhaps in a recording, counts for nothing.
  void step() const {
    if (ranges) ranges->next();
    if (ops->host_memory) walk.step();
  }

  DType type() const { return weights->type; }
  Buffer buffer(int64_t elements, DType dtype) const {
    return Buffer(*ops, size_t(elements) * size_of(dtype), &memory);
  }
};

struct Engine::State : EngineState {};

/// One live request.
struct Request {
  KvCache cache;
  int64_t next_position = 0;  // of the next token, along every axis
  int64_t length = 0;         // tokens so far, visual ones included wherever they are still cached
  bool live = true;
};

class DecodeStep;

class Session {
 public:
  explicit Session(std::shared_ptr<const EngineState> state);
  ~Session();
  std::shared_ptr<const EngineState> engine;  // first: what follows points into it
  std::vector<Request> requests;
  std::vector<float> logits;         // [requests, vocab]
  std::unique_ptr<DecodeStep> step;  // of the requests that decoded last
};

/// The number of OpenMP threads for the life of this object; 0 leaves it.
class ThreadCount {
 public:
  explicit ThreadCount(int threads);
  ~ThreadCount();
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_ = 0;
};

/// Adds the seconds of its life to a counter.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// A picture of an input that waits for the tower.
struct Picture {
  const ModelInput* input;
  int64_t index;  // among the input's
  PatchGrid grid;
};
/// Where what later taps of the tower give is kept: [deep taps, rows, hidden] fp32 on the device. Null: nowhere.
struct DeepRows {
  float* data = nullptr;
  int64_t rows = 0;
};
/// Visual features of pictures, [visual tokens, hidden] fp32 on the device from `out` on; `trace` (or null) also gets
/// vision_hidden and vision_features appended. What later taps give goes to `deep` from row `deep_row` on.
void run_vision(const EngineState& state, const std::vector<Picture>& pictures, float* out, Trace* trace,
                const DeepRows& deep = {}, int64_t deep_row = 0);

/// No less than the bytes of activations that run_vision holds at once for the pictures of a batch; those of shared
/// prefixes count once.
int64_t vision_bytes(const EngineState& state, const std::vector<ModelInput>& inputs, const Layout& layout);

/// Input embeddings of a batch in layout order into x [rows, hidden] fp32 on the device, what later taps of the tower
/// give of its visual rows into `deep`. UserError for ids outside the
/// vocabulary and for images that do not match the spans.
void embed_inputs(const EngineState& state, const std::vector<ModelInput>& inputs, const Layout& layout, float* x,
                  Trace* trace, const DeepRows& deep = {});
/// The embedding of one token. out [hidden] on the host
void embed_token(const EngineState& state, int64_t token, float* out);

}  // namespace yopo::runtime
