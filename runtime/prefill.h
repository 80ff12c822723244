// The prefill of a batch. Private to runtime/.
#pragma once

#include <span>
#include <vector>

#include "runtime/state.h"

namespace yopo::runtime {

/// Makes the layers' weights fit beside `bytes` more of KV caches and activations. UserError if they cannot.
void make_room(const EngineState& state, int64_t bytes, const char* what);
/// Counts the bytes of the live requests' KV entries.
void count_kv(const EngineState& state, const Session& session);
/// Engine::prefill, with a trace a request or none.
void run_prefill(const EngineState& state, Session& session, const std::vector<ModelInput>& inputs, int64_t capacity,
                 std::span<Trace> traces, const TraceOptions& options);

}  // namespace yopo::runtime
