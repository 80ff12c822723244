#include "runtime/random_input.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/anyres.h"
#include "runtime/weights.h"

namespace yopo::runtime {

PromptShape square_prompt(int64_t visual, int64_t text) {
  int64_t rows = std::max<int64_t>(1, int64_t(std::sqrt(double(visual))));
  while (visual % rows) --rows;
  const int64_t before = std::min<int64_t>(35, text - 1);
  return single_image_shape(before, visual ? rows : 0, visual / rows, text - before);
}

ModelInput random_input(const PromptShape& prompt, const ModelSpec& model, uint64_t seed) {
  const int64_t hidden = model.text.hidden_size;
  ModelInput input;
  input.spans = prompt.spans;
  input.embeds.resize(size_t(prompt.length * hidden));
  for (int64_t token = 0; token < prompt.length; ++token) {
    input.position_ids.push_back(token);
    random_row(seed, Role::EmbedTokens, -1, token, hidden, input.embeds.data() + token * hidden);
  }
  input.deepstack.assign(size_t(model.deep_taps() * input.visual_tokens() * hidden), 0.0f);
  return input;
}

ModelInput pictured_input(ModelSpec model, int64_t visual, int64_t text, uint64_t seed) {
  require(!is_anyres(model), "pictures of {} are cut into tiles by their sizes: their vision tower is not timed",
          model.family);
  const VisionSpec& v = model.vision;
  std::vector<PatchGrid> grids;
  int64_t values = 0;
  if (v.image_size > 0) {
    grids = square_grids(model, std::max<int64_t>(1, (visual + model.image_tokens() / 2) / model.image_tokens()));
    values = int64_t(grids.size()) * v.picture_values();
  } else {
    const auto side = std::max<int64_t>(1, std::llround(std::sqrt(double(visual)))) * v.merge_size;
    grids = {{side, side}};
    values = side * side * v.patch_values();
  }
  std::vector<float> pixels(size_t(values), 0.0f);
  uint32_t state = uint32_t(seed) | 1;
  for (float& pixel : pixels) pixel = float((state = state * 1664525u + 1013904223u) >> 8) / float(1 << 23) - 1.0f;
  if (model.image_token_id < 0) model.image_token_id = 0;  // the tokenizer's: any will do
  int64_t word = 0;
  while (word == model.image_token_id || word == model.video_token_id) ++word;
  std::vector<int64_t> ids(size_t(text), word);
  ids.insert(ids.begin(), grids.size(), model.image_token_id);
  return make_input(model, ids, std::move(pixels), grids, "bench");
}

Buffer random_buffer(const Ops& ops, size_t elements, DType type) {
  std::vector<float> values(elements);
  uint32_t state = 1;
  for (float& value : values) value = float((state = state * 1664525u + 1013904223u) >> 8) / float(1 << 24) - 0.5f;
  std::vector<std::byte> converted(elements * size_of(type));
  from_float(values.data(), elements, type, converted.data());
  Buffer buffer(ops, converted.size());
  ops.upload(buffer.data(), converted.data(), converted.size());
  return buffer;
}

}  // namespace yopo::runtime
