#include "models/input.h"

#include <algorithm>
#include <numeric>

namespace yopo {

namespace {

constexpr int64_t kMaxLength = int64_t(1) << 24;

/// Integer tensor of one dimension, or [1, n].
std::vector<int64_t> row_of(const SafetensorsFile& file, const std::string& name) {
  const TensorView& view = file.at(name);
  const bool flat = view.shape.size() == 1 || (view.shape.size() == 2 && view.shape[0] == 1);
  require(flat, "{}: tensor {}: expected shape [T], found {}", file.path().string(), name, shape_string(view.shape));
  return view.ints();
}

void check_positions(const std::vector<int64_t>& positions, int64_t length, const std::string& where) {
  require(int64_t(positions.size()) == length, "{}: position_ids: expected {} entries, one a token, found {}", where, length,
          positions.size());
  for (int64_t position : positions)
    require(position >= 0 && position < kMaxLength, "{}: position_ids: {} is out of range", where, position);
}

}  // namespace

int64_t ModelInput::visual_tokens() const {
  int64_t count = 0;
  for (const Span& span : spans) count += span.count();
  return count;
}

int64_t ModelInput::next_position() const {
  return position_ids.empty() ? 0 : *std::max_element(position_ids.begin(), position_ids.end()) + 1;
}

void check_spans(const std::vector<Span>& spans, int64_t length, const std::string& where) {
  int64_t end = 0;
  for (size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    require(span.rows > 0 && span.columns > 0 && span.rows <= kMaxLength && span.columns <= kMaxLength,
            "{}: span {}: an image of {} x {} visual tokens", where, i, span.rows, span.columns);
    require(span.start >= end && span.start <= length - span.count(),
            "{}: span {}: tokens [{}, {}) overlap the one before or pass the {} tokens of the prompt", where, i, span.start,
            span.start + span.count(), length);
    end = span.start + span.count();
  }
}

std::vector<uint8_t> visual_mask(const ModelInput& input) {
  std::vector<uint8_t> mask(input.length(), 0);
  for (const Span& span : input.spans) std::fill_n(mask.begin() + span.start, span.count(), uint8_t(1));
  return mask;
}

ModelInput make_input(const ModelSpec& spec, std::vector<int64_t> input_ids, std::vector<float> pixel_values, int64_t images,
                      const std::string& where) {
  const int64_t tokens = spec.image_tokens(), side = spec.vision.image_size, grid = spec.vision.grid();
  require(int64_t(pixel_values.size()) == images * 3 * side * side,
          "{}: pixel_values: expected [{}, 3, {}, {}], found {} values", where, images, side, side, pixel_values.size());
  ModelInput input;
  input.images = images;
  input.pixel_values = std::move(pixel_values);
  const int64_t placeholders = std::count(input_ids.begin(), input_ids.end(), spec.image_token_id);
  const bool per_image = placeholders == images && !(spec.expanded_placeholders && tokens == 1);
  require(per_image || placeholders == images * tokens,
          "{}: {} image placeholders (id {}) for {} images of {} visual tokens: expected {} or {}", where, placeholders,
          spec.image_token_id, images, tokens, images, images * tokens);
  int64_t left_of_image = 0;
  for (int64_t id : input_ids) {
    if (id != spec.image_token_id) {
      require(left_of_image == 0, "{}: an image's {} placeholders are interrupted by token {}", where, tokens, id);
      require(id >= 0 && id < spec.text.vocab_size, "{}: token id {} lies outside the vocabulary of {}", where, id,
              spec.text.vocab_size);
      input.input_ids.push_back(id);
      continue;
    }
    if (left_of_image == 0) {
      input.spans.push_back({int64_t(input.input_ids.size()), grid, grid});
      left_of_image = per_image ? 1 : tokens;
    }
    input.input_ids.insert(input.input_ids.end(), per_image ? tokens : 1, spec.image_token_id);
    --left_of_image;
  }
  require(!input.input_ids.empty(), "{}: the prompt is empty", where);
  input.position_ids.resize(input.input_ids.size());
  std::iota(input.position_ids.begin(), input.position_ids.end(), int64_t(0));
  return input;
}

ModelInput read_input(const ModelSpec& spec, const fs::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const std::string where = path.string();
  ModelInput input;
  if (file.contains("embeds")) {
    const TensorView& embeds = file.at("embeds");
    require(embeds.shape.size() == 2 && embeds.shape[1] == spec.text.hidden_size && embeds.shape[0] > 0,
            "{}: tensor embeds: expected [T, {}], found {}", where, spec.text.hidden_size, shape_string(embeds.shape));
    const TensorView& spans = file.at("spans");
    require(spans.shape.size() == 2 && spans.shape[1] == 3, "{}: tensor spans: expected [n, 3], found {}", where,
            shape_string(spans.shape));
    const std::vector<int64_t> values = spans.ints();
    for (int64_t i = 0; i < spans.shape[0]; ++i) input.spans.push_back({values[3 * i], values[3 * i + 1], values[3 * i + 2]});
    input.embeds = embeds.floats();
    input.position_ids = row_of(file, "position_ids");
    check_positions(input.position_ids, embeds.shape[0], where);
  } else {
    std::vector<float> pixels;
    int64_t images = 0;
    if (file.contains("pixel_values")) {
      const TensorView& view = file.at("pixel_values");
      const int64_t side = spec.vision.image_size;
      require(view.shape.size() == 4 && view.shape[1] == 3 && view.shape[2] == side && view.shape[3] == side,
              "{}: tensor pixel_values: expected [images, 3, {}, {}], found {}", where, side, side, shape_string(view.shape));
      images = view.shape[0];
      pixels = view.floats();
    }
    input = make_input(spec, row_of(file, "input_ids"), std::move(pixels), images, where);
    if (file.contains("position_ids")) {
      std::vector<int64_t> positions = row_of(file, "position_ids");
      check_positions(positions, input.length(), where);
      input.position_ids = std::move(positions);
    }
  }
  check_spans(input.spans, input.length(), where);
  return input;
}

}  // namespace yopo
