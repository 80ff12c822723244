#include "pipeline/memory_needed.h"

#include <algorithm>
#include <map>

#include "core/memory.h"
#include "models/tensors.h"
#include "reference/engine.h"

namespace yopo {
namespace {

/// Elements of all tensors, of the largest layer, and of what is in no layer, without the embeddings and the head: of
/// these a pass reads rows, or nothing.
struct Elements {
  int64_t all = 0, largest_layer = 0, ends = 0;
};
Elements elements_of(const ModelSpec& spec) {
  Elements elements;
  std::map<std::pair<TensorPlace, int64_t>, int64_t> layers;
  for (const TensorSlot& slot : tensor_table(spec)) {
    if (slot.role == Role::LmHead && spec.text.tie_word_embeddings) continue;
    const int64_t own = element_count(slot.shape, slot.name);
    elements.all += own;
    if (slot.layer >= 0 && slot.place != TensorPlace::Tap)
      layers[{slot.place, slot.layer}] += own;
    else if (slot.role != Role::EmbedTokens && slot.role != Role::LmHead)
      elements.ends += own;
  }
  for (const auto& [layer, own] : layers) elements.largest_layer = std::max(elements.largest_layer, own);
  return elements;
}

}  // namespace

MemoryNeeded memory_needed(const Recipe& recipe, const ModelSpec& spec, const RunSettings& settings, int64_t length) {
  const DecoderSpec& text = spec.text;
  const Elements elements = elements_of(spec);
  const int64_t activations = 4 * length * (8 * text.hidden_size + 3 * text.intermediate_size);
  MemoryNeeded needed;
  needed.limit = settings.memory > 0 ? settings.memory : physical_memory();

  // The masking forward keeps a quarter of its memory free of weights.
  const int64_t width = int64_t(size_of(torch_dtype(spec, recipe.dtype)));
  const int64_t weights = elements.all * width, room = memory_limit(settings.memory, weights);
  needed.calibrate_streams = room > 0 && weights > room / 4 * 3;
  needed.calibrate =
      (needed.calibrate_streams ? (elements.ends + 2 * elements.largest_layer) * width : weights) + activations;

  // The proof is in fp32, by four engines: all held where they fit, else one at a time in three quarters of the memory.
  const int64_t whole = elements.all * 4, limit = memory_limit(settings.memory, 4 * whole);
  const int64_t traces = 2 * length * ((text.num_hidden_layers + 1) * text.hidden_size + text.vocab_size) * 4;
  if (limit == 0) {
    needed.verify = (spec.dtype == DType::F32 ? 2 : 4) * whole + activations + traces;
  } else {
    const int64_t engine = limit / 4 * 3;
    needed.verify_streams = whole + activations > engine;
    // Where layers are brought in one at a time, samples go through them together, and all their traces are kept.
    const int64_t together = needed.verify_streams ? recipe.verify_samples : 1;
    needed.verify = std::min(engine, whole + activations) + std::min(traces * together, limit / 4);
  }
  return needed;
}

}  // namespace yopo
