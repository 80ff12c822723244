#include "runtime/decode_step.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace yopo::runtime {
namespace {

std::vector<Request*> live_requests(Session& session, const std::vector<int64_t>& requests) {
  std::vector<Request*> live;
  for (const int64_t index : requests) {
    ensure(index >= 0 && index < int64_t(session.requests.size()), "decode: a request of the session");
    Request* request = &session.requests[size_t(index)];
    ensure(std::find(live.begin(), live.end(), request) == live.end(), "decode: a request once a step");
    ensure(request->live, "decode: a live request");
    live.push_back(request);
  }
  return live;
}

}  // namespace

DecodeStep::DecodeStep(const EngineState& state, Session& session, const std::vector<int64_t>& requests)
    : s_(state),
      requests_(requests),
      live_(live_requests(session, requests)),
      rows_(requests.size()),
      decoder_(state, live_, nullptr) {
  std::iota(rows_.begin(), rows_.end(), int64_t(0));
  logits_ = s_.buffer(int64_t(requests.size()) * s_.spec.text.vocab_size, DType::F32);
}

DecodeStep::~DecodeStep() {
  if (recording_) s_.ops->forget(recording_);
}

void DecodeStep::issue() {
  cost_ = {};
  const LayerRanges ranges(*s_.ops, &s_.ranges, "layer", 0, s_.spec.text.num_hidden_layers, "head");
  decoder_.issue_layers(cost_);
  decoder_.issue_head(rows_, logits_.as<float>(), cost_);
}

void DecodeStep::run(Session& session, const std::vector<int64_t>& tokens) {
  const Range range(*s_.ops, "decode");
  const int64_t hidden = s_.spec.text.hidden_size, vocab = s_.spec.text.vocab_size, count = int64_t(requests_.size());
  std::vector<float> embeds(size_t(count * hidden));
  for (int64_t i = 0; i < count; ++i) {
    const Request& request = *live_[size_t(i)];
    ensure(request.cache.text_count() < request.cache.text_capacity(), "decode: past the session's capacity");
    embed_token(s_, tokens[size_t(i)], embeds.data() + i * hidden);
  }
  s_.ops->upload(decoder_.x(), embeds.data(), embeds.size() * sizeof(float));
  decoder_.place_next();
  // The first step runs directly: it makes the device's scratch as large as this step needs, which a recording may not.
  // Streamed weights pass through one place, which a recording would read too late.
  if (s_.ops->record && runs_ > 0 && !s_.weights->layers->streaming()) {
    const int64_t generation = s_.weights->layers->generation();
    if (recording_ && generation != generation_) s_.ops->forget(std::exchange(recording_, nullptr));
    if (!recording_) recording_ = s_.ops->record([this] { issue(); });
    generation_ = generation;
    s_.ops->replay(recording_);
  } else {
    issue();
  }
  ++runs_;
  std::vector<float> logits(size_t(count * vocab));
  s_.ops->download(logits.data(), logits_.data(), logits.size() * sizeof(float));
  cost_.attention = decoder_.take_attention_macs();
  s_.counters.decode += cost_;
  for (int64_t i = 0; i < count; ++i) {
    Request& request = *live_[size_t(i)];
    request.cache.advance(1);
    ++request.next_position;
    ++request.length;
    std::copy_n(logits.begin() + i * vocab, vocab, session.logits.begin() + requests_[size_t(i)] * vocab);
  }
}

}  // namespace yopo::runtime
