#include "models/input.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "models/anyres.h"

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

/// [T], [1, T], or with M-RoPE also [3, T] and [3, 1, T].
void read_positions(const ModelSpec& spec, const SafetensorsFile& file, int64_t length, ModelInput& input) {
  const TensorView& view = file.at("position_ids");
  const std::string where = file.path().string();
  const auto& shape = view.shape;
  const bool three = !spec.text.rope.sections.empty() && !shape.empty() && shape[0] == 3 &&
                     (shape.size() == 2 || (shape.size() == 3 && shape[1] == 1));
  require(three || shape.size() == 1 || (shape.size() == 2 && shape[0] == 1),
          "{}: tensor position_ids: expected shape [T]{}, found {}", where,
          spec.text.rope.sections.empty() ? "" : " or [3, T]", shape_string(shape));
  input.position_ids = view.ints();
  input.position_axes = three ? 3 : 1;
  require(input.length() == length, "{}: position_ids: expected {} entries, one a token, found {}", where, length,
          input.length());
  for (const int64_t position : input.position_ids)
    require(position >= 0 && position < kMaxLength, "{}: position_ids: {} is out of range", where, position);
}

/// Rows and columns of each picture from [images, 3] of time, rows and columns of patches.
std::vector<PatchGrid> read_grids(const SafetensorsFile& file, const VisionSpec& vision) {
  const TensorView& view = file.at("image_grid_thw");
  const std::string where = file.path().string();
  require(view.shape.size() == 2 && view.shape[1] == 3, "{}: tensor image_grid_thw: expected [images, 3], found {}",
          where, shape_string(view.shape));
  const std::vector<int64_t> values = view.ints();
  std::vector<PatchGrid> grids;
  for (size_t i = 0; i < values.size(); i += 3) {
    require(values[i] == 1, "{}: image_grid_thw: picture {} has {} frames; videos are not supported", where, i / 3,
            values[i]);
    for (const size_t side : {i + 1, i + 2})
      require(values[side] > 0 && values[side] < kMaxLength && values[side] % vision.merge_size == 0,
              "{}: image_grid_thw: picture {}: {} patches a side; expected a multiple of {}", where, i / 3,
              values[side], vision.merge_size);
    grids.push_back({values[i + 1], values[i + 2]});
  }
  return grids;
}

/// [images, 2] heights and widths.
std::vector<std::array<int64_t, 2>> read_sizes(const SafetensorsFile& file) {
  const TensorView& view = file.at("image_sizes");
  const std::string where = file.path().string();
  require(view.shape.size() == 2 && view.shape[1] == 2, "{}: tensor image_sizes: expected [images, 2], found {}", where,
          shape_string(view.shape));
  const std::vector<int64_t> values = view.ints();
  std::vector<std::array<int64_t, 2>> sizes;
  for (size_t i = 0; i < values.size(); i += 2) {
    for (const size_t side : {i, i + 1})
      require(values[side] > 0 && values[side] < kMaxLength, "{}: image_sizes: image {}: {} pixels a side", where,
              i / 2, values[side]);
    sizes.push_back({values[i], values[i + 1]});
  }
  return sizes;
}

/// The tiles of [images, most tiles, 3, side, side], as transformers stacks them: each image's first ones are its own.
std::vector<float> read_tiles(const SafetensorsFile& file, const ModelSpec& spec,
                              const std::vector<std::array<int64_t, 2>>& sizes, int64_t& tiles) {
  const TensorView& view = file.at("pixel_values");
  const std::string where = file.path().string();
  const int64_t side = spec.vision.image_size, values = spec.vision.picture_values();
  require(view.shape.size() == 5 && view.shape[0] == int64_t(sizes.size()) && view.shape[2] == 3 &&
              view.shape[3] == side && view.shape[4] == side,
          "{}: tensor pixel_values: expected [{}, tiles, 3, {}, {}], found {}", where, sizes.size(), side, side,
          shape_string(view.shape));
  const std::vector<float> all = view.floats();
  std::vector<float> own;
  const std::vector<AnyResLayout> layouts = anyres_layouts(spec, sizes);
  for (size_t i = 0; i < layouts.size(); ++i) {
    require(layouts[i].tiles() <= view.shape[1], "{}: tensor pixel_values: image {} has {} tiles, found room for {}",
            where, i, layouts[i].tiles(), view.shape[1]);
    const auto first = all.begin() + int64_t(i) * view.shape[1] * values;
    own.insert(own.end(), first, first + layouts[i].tiles() * values);
    tiles += layouts[i].tiles();
  }
  return own;
}

/// Where neither the config nor a tokenizer says which id is the placeholder: the one id that comes `count` times in
/// runs of `run`. UserError if there is none or more than one.
int64_t find_placeholder(const std::vector<int64_t>& ids, int64_t count, int64_t run, const std::string& where) {
  std::map<int64_t, int64_t> counts;
  for (const int64_t id : ids) ++counts[id];
  std::vector<int64_t> found;
  for (const auto& [id, times] : counts) {
    if (times != count) continue;
    bool whole = true;
    for (size_t i = 0; i < ids.size() && whole;) {
      size_t end = i;
      while (end < ids.size() && ids[end] == ids[i]) ++end;
      whole = ids[i] != id || int64_t(end - i) % run == 0;
      i = end;
    }
    if (whole) found.push_back(id);
  }
  require(found.size() == 1,
          "{}: the image placeholder's id is not known: no tokenizer beside the checkpoint, and {} ids come {} times "
          "in runs "
          "of {}",
          where, found.size(), count, run);
  return found.front();
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
            "{}: span {}: tokens [{}, {}) overlap the one before or pass the {} tokens of the prompt", where, i,
            span.start, span.start + span.count(), length);
    end = span.start + span.count();
  }
}

std::vector<uint8_t> visual_mask(const ModelInput& input) {
  std::vector<uint8_t> mask(input.length(), 0);
  for (const Span& span : input.spans) std::fill_n(mask.begin() + span.start, span.count(), uint8_t(1));
  return mask;
}

std::vector<PatchGrid> square_grids(const ModelSpec& spec, int64_t images) {
  return std::vector<PatchGrid>(size_t(images), {spec.vision.grid(), spec.vision.grid()});
}

void number_positions(const ModelSpec& spec, int64_t length, ModelInput& input) {
  const bool three = !spec.text.rope.sections.empty();
  input.position_axes = three ? 3 : 1;
  input.position_ids.resize(size_t(input.position_axes * length));
  if (!three) return std::iota(input.position_ids.begin(), input.position_ids.end(), int64_t(0));
  const auto at = [&](int64_t axis, int64_t token) -> int64_t& {
    return input.position_ids[size_t(axis * length + token)];
  };
  int64_t base = 0, token = 0;
  const auto text_until = [&](int64_t end) {
    for (; token < end; ++token, ++base)
      for (int64_t axis = 0; axis < 3; ++axis) at(axis, token) = base;
  };
  for (const Span& span : input.spans) {
    text_until(span.start);
    for (int64_t row = 0; row < span.rows; ++row)
      for (int64_t column = 0; column < span.columns; ++column, ++token)
        at(0, token) = base, at(1, token) = base + row, at(2, token) = base + column;
    base += std::max(span.rows, span.columns);
  }
  text_until(length);
}

namespace {

/// The grids of visual tokens that stand for one placeholder.
struct Unit {
  std::vector<Span> spans;  // start is not set
  int64_t tokens = 0;
};

std::vector<Unit> units_of(const ModelSpec& spec, const std::vector<PatchGrid>& grids,
                           const std::vector<std::array<int64_t, 2>>& image_sizes, const std::string& where) {
  const int64_t merge = spec.vision.merge_size;
  std::vector<Unit> units;
  if (!is_anyres(spec)) {
    for (const PatchGrid& grid : grids) {
      ensure(grid[0] > 0 && grid[1] > 0 && grid[0] % merge == 0 && grid[1] % merge == 0,
             "a picture is whole blocks of patches");
      units.push_back({{{0, grid[0] / merge, grid[1] / merge}}, grid[0] * grid[1] / (merge * merge)});
    }
    return units;
  }
  int64_t tiles = 0;
  for (const AnyResLayout& layout : anyres_layouts(spec, image_sizes)) {
    const auto spans = layout.spans();
    units.push_back({{spans[0], spans[1]}, layout.tokens()});
    tiles += layout.tiles();
  }
  require(tiles == int64_t(grids.size()), "{}: {} images of these sizes are {} tiles, found {}", where,
          image_sizes.size(), tiles, grids.size());
  return units;
}

}  // namespace

ModelInput make_input(const ModelSpec& spec, std::vector<int64_t> input_ids, std::vector<float> pixel_values,
                      const std::vector<PatchGrid>& grids, const std::string& where,
                      const std::vector<std::array<int64_t, 2>>& image_sizes) {
  const VisionSpec& vision = spec.vision;
  const std::vector<Unit> units = units_of(spec, grids, image_sizes, where);
  const int64_t images = int64_t(units.size());
  int64_t patches = 0, tokens = 0;
  for (const PatchGrid& grid : grids) patches += grid[0] * grid[1];
  for (const Unit& unit : units) tokens += unit.tokens;
  if (vision.image_size > 0)
    require(int64_t(pixel_values.size()) == int64_t(grids.size()) * vision.picture_values(),
            "{}: pixel_values: expected [{}, 3, {}, {}], found {} values", where, grids.size(), vision.image_size,
            vision.image_size, pixel_values.size());
  else
    require(int64_t(pixel_values.size()) == patches * vision.patch_values(),
            "{}: pixel_values: expected [{}, {}], found {} values", where, patches, vision.patch_values(),
            pixel_values.size());
  ModelInput input;
  input.images = int64_t(grids.size());
  input.image_sizes = image_sizes;
  input.pixel_values = std::move(pixel_values);
  const int64_t placeholders = std::count(input_ids.begin(), input_ids.end(), spec.image_token_id);
  const bool per_image = placeholders == images && !(spec.expanded_placeholders && tokens == images);
  require(per_image || placeholders == tokens,
          "{}: {} image placeholders (id {}) for {} images of {} visual tokens: expected {} or {}", where, placeholders,
          spec.image_token_id, images, images > 0 ? tokens / images : spec.image_tokens(), images, tokens);
  size_t image = 0;
  int64_t left = 0;  // placeholders that the image still needs
  for (const int64_t id : input_ids) {
    if (id != spec.image_token_id) {
      require(id != spec.video_token_id,
              "{}: token {} stands for a video: expected images and text, videos are not supported", where, id);
      require(left == 0, "{}: an image's {} placeholders are interrupted by token {}", where,
              image > 0 ? units[image - 1].tokens : 0, id);
      require(id >= 0 && id < spec.text.vocab_size, "{}: token id {} lies outside the vocabulary of {}", where, id,
              spec.text.vocab_size);
      input.input_ids.push_back(id);
      continue;
    }
    if (left == 0) {
      const Unit& unit = units[image++];
      int64_t start = int64_t(input.input_ids.size());
      for (const Span& span : unit.spans) {
        input.spans.push_back({start, span.rows, span.columns});
        start += span.count();
      }
      left = per_image ? 1 : unit.tokens;
    }
    input.input_ids.insert(input.input_ids.end(), size_t(per_image ? units[image - 1].tokens : 1), spec.image_token_id);
    --left;
  }
  require(!input.input_ids.empty(), "{}: the prompt is empty", where);
  number_positions(spec, int64_t(input.input_ids.size()), input);
  return input;
}

void check_deepstack(const ModelSpec& spec, const ModelInput& input, const std::string& where) {
  const int64_t values = spec.deep_taps() * input.visual_tokens() * spec.text.hidden_size;
  require(
      int64_t(input.deepstack.size()) == values,
      "{}: deepstack: expected [{}, {}, {}] (what the tower adds to the visual rows behind the first layers), found "
      "{} values",
      where, spec.deep_taps(), input.visual_tokens(), spec.text.hidden_size, input.deepstack.size());
}

ModelInput read_input(const ModelSpec& given, const fs::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const std::string where = path.string();
  ModelSpec spec = given;
  ModelInput input;
  if (file.contains("embeds")) {
    const TensorView& embeds = file.at("embeds");
    require(embeds.shape.size() == 2 && embeds.shape[1] == spec.text.hidden_size && embeds.shape[0] > 0,
            "{}: tensor embeds: expected [T, {}], found {}", where, spec.text.hidden_size, shape_string(embeds.shape));
    const TensorView& spans = file.at("spans");
    require(spans.shape.size() == 2 && spans.shape[1] == 3, "{}: tensor spans: expected [n, 3], found {}", where,
            shape_string(spans.shape));
    const std::vector<int64_t> values = spans.ints();
    for (int64_t i = 0; i < spans.shape[0]; ++i)
      input.spans.push_back({values[size_t(3 * i)], values[size_t(3 * i + 1)], values[size_t(3 * i + 2)]});
    input.embeds = embeds.floats();
    if (file.contains("deepstack")) input.deepstack = file.at("deepstack").floats();
    read_positions(spec, file, embeds.shape[0], input);
    check_spans(input.spans, input.length(), where);
    check_deepstack(spec, input, where);
  } else {
    const VisionSpec& vision = spec.vision;
    std::vector<float> pixels;
    std::vector<PatchGrid> grids;
    std::vector<std::array<int64_t, 2>> sizes;
    if (file.contains("pixel_values") && is_anyres(spec)) {
      sizes = read_sizes(file);
      int64_t tiles = 0;
      pixels = read_tiles(file, spec, sizes, tiles);
      grids = square_grids(spec, tiles);
    } else if (file.contains("pixel_values")) {
      const TensorView& view = file.at("pixel_values");
      const int64_t side = vision.image_size;
      if (side > 0) {
        require(view.shape.size() == 4 && view.shape[1] == 3 && view.shape[2] == side && view.shape[3] == side,
                "{}: tensor pixel_values: expected [images, 3, {}, {}], found {}", where, side, side,
                shape_string(view.shape));
        grids = square_grids(spec, view.shape[0]);
      } else {
        require(view.shape.size() == 2 && view.shape[1] == vision.patch_values(),
                "{}: tensor pixel_values: expected [patches, {}], found {}", where, vision.patch_values(),
                shape_string(view.shape));
        grids = read_grids(file, vision);
      }
      pixels = view.floats();
    }
    std::vector<int64_t> ids = row_of(file, "input_ids");
    if (spec.image_token_id == -1 && !grids.empty())
      spec.image_token_id =
          find_placeholder(ids, int64_t(grids.size()) * spec.image_tokens(), spec.image_tokens(), where);
    input = make_input(spec, std::move(ids), std::move(pixels), grids, where, sizes);
    if (file.contains("position_ids")) read_positions(spec, file, input.length(), input);
  }
  check_spans(input.spans, input.length(), where);
  return input;
}

}  // namespace yopo
