#include "models/prompt.h"

#include <algorithm>

#include "core/error.h"
#include "datasets/sample.h"
#include "images/processor.h"
#include "models/anyres.h"
#include "text/unicode.h"

namespace yopo {

namespace {

/// tokenizer_image_token of the code published with arXiv 2310.03744: the parts around <image> are tokenised each with
/// its own bos, of which the first stays, and the placeholder's id goes between.
std::vector<int64_t> encode_chunks(const Tokenizer& tokenizer, std::string_view prompt, std::string_view placeholder,
                                   const ModelSpec& spec) {
  std::vector<int64_t> ids;
  bool bos = false;
  for (bool first = true;; first = false) {
    const size_t end = prompt.find(placeholder);
    const std::vector<int64_t> chunk = tokenizer.encode(prompt.substr(0, end), true);
    if (first) bos = !chunk.empty() && chunk[0] == spec.bos_token_id;
    if (first && bos) ids.push_back(chunk[0]);
    ids.insert(ids.end(), chunk.begin() + std::min<std::ptrdiff_t>(bos ? 1 : 0, std::ptrdiff_t(chunk.size())),
               chunk.end());
    if (end == std::string_view::npos) return ids;
    ids.push_back(spec.image_token_id);
    prompt.remove_prefix(end + placeholder.size());
  }
}

}  // namespace

std::string PromptOptions::text() const {
  std::vector<std::string> parts;
  if (!chat_template.empty()) parts.push_back("template " + chat_template);
  if (!image_backend.empty()) parts.push_back("image backend " + image_backend);
  if (exif_transpose) parts.emplace_back("exif transposed");
  return fmt::format("{}", fmt::join(parts, ", "));
}

Processor::Processor(const OpenModel& model, const PromptOptions& options)
    : spec_(model.spec),
      template_(prompt_template(model.checkpoint.folder(), model.spec, options.chat_template)),
      tokenizer_file_(tokenizer_file(model.checkpoint.folder())),
      bos_(tokenizer_config(model.checkpoint.folder()).bos_token),
      tokenizer_(open_tokenizer(model.checkpoint.folder())),
      recent_(std::make_unique<RecentPixels>()) {
  if (!options.image_backend.empty()) {
    require(options.image_backend == "pil" || options.image_backend == "torchvision",
            "image backend '{}': expected pil or torchvision", printable(options.image_backend));
    spec_.image.backend = options.image_backend == "pil" ? ImageBackend::Pil : ImageBackend::Torchvision;
  }
  spec_.image.exif_transpose = options.exif_transpose;
  if (!spec_.expanded_placeholders) return;
  const std::string where = model.checkpoint.folder().string();
  const int64_t id = tokenizer_->id_of(template_.placeholder);
  if (spec_.image_token_id < 0) spec_.image_token_id = id;
  require(id >= 0 && id == spec_.image_token_id, "{}: the image token is {}, but the tokenizer has {} for {}", where,
          spec_.image_token_id, id < 0 ? "none" : std::to_string(id), template_.placeholder);
}

std::vector<int64_t> Processor::tokens_of(const std::string& text, int64_t visual_tokens,
                                          const std::string& where) const {
  if (!spec_.expanded_placeholders) return encode_chunks(*tokenizer_, text, template_.placeholder, spec_);
  // As transformers: a template that writes the first token itself gets no second one.
  const bool own_bos = !bos_.empty() && text.starts_with(bos_);
  std::vector<int64_t> ids = tokenizer_->encode(text, !own_bos);
  const int64_t found = std::count(ids.begin(), ids.end(), spec_.image_token_id);
  require(
      found == visual_tokens,
      "{}: {}: {} stands {} times in the prompt, once a visual token, and is found as a token {} times: as the "
      "tokenizer describes it, it is not recognised wherever it stands; mark it there (in tokenizer.json: "
      "added_tokens; in tokenizer_config.json: added_tokens_decoder) with \"special\": true, \"normalized\": false, "
      "\"single_word\": false",
      where, tokenizer_file_.string(), template_.placeholder, visual_tokens, found);
  return ids;
}

ModelInput Processor::prepare(const std::string& question, const std::vector<fs::path>& images,
                              const std::string& where) const {
  return prepare(question, images, {}, where);
}

ModelInput Processor::prepare(const Sample& sample) const {
  return prepare(sample.text, sample.images, sample.encoded, sample.where);
}

ModelInput Processor::prepare(const std::string& question, const std::vector<fs::path>& images,
                              const std::vector<EncodedImage>& encoded, const std::string& where) const {
  require(question.find(template_.placeholder) == std::string::npos,
          "{}: the question holds {}; images are named beside it", where, template_.placeholder);
  std::vector<float> pixels;
  std::vector<PatchGrid> grids;
  std::vector<std::array<int64_t, 2>> sizes;  // of the images, where their pictures are tiles on a canvas
  std::vector<int64_t> placeholders;          // of each image
  int64_t visual_tokens = 0;
  // Of several images in one prompt some families make a padded square each.
  ImageSpec rules = spec_.image;
  const bool squares = is_anyres(spec_) && rules.single_tile && images.size() + encoded.size() > 1;
  if (squares) rules.fit = ImageSpec::Fit::PadToSquare;
  const int64_t side = spec_.vision.grid(), merged = spec_.vision.merge_size * spec_.vision.merge_size;
  const auto naming = [](const std::string& place, const auto& act) {
    try {
      return act();
    } catch (const UserError& error) {
      fail("{}: {}", place, error.what());
    }
  };
  // `read` names the question and the file itself.
  const auto add = [&](const std::string& image, const fs::path& path, const auto& read) {
    const std::string place = where + ": " + path.string();
    const std::shared_ptr<const Pixels> one = recent_->get(squares ? image + " square" : image, [&] {
      const Image decoded = read();
      return naming(place, [&] { return process_pixels(rules, decoded); });
    });
    int64_t tokens = naming(place, [&] {
      int64_t count = 0;
      for (const PatchGrid& grid : one->grids) {
        require(side == 0 || (grid[0] == side && grid[1] == side),
                "preprocessor_config.json leaves it with {} x {} patches; the vision tower takes {} x {}", grid[0],
                grid[1], side, side);
        count += grid[0] * grid[1] / merged;
      }
      return count;
    });
    pixels.insert(pixels.end(), one->values.begin(), one->values.end());
    grids.insert(grids.end(), one->grids.begin(), one->grids.end());
    if (is_anyres(spec_)) {
      ModelSpec alone = spec_;
      alone.image.single_tile = false;
      tokens = squares ? side * side + 1 : anyres_layouts(alone, {one->size})[0].tokens();
      sizes.push_back(one->size);
    }
    placeholders.push_back(spec_.expanded_placeholders ? tokens : 1);
    visual_tokens += tokens;
  };
  for (const fs::path& path : images) add(path.string(), path, [&] { return read_image(path, where); });
  for (const EncodedImage& image : encoded)
    add(Fingerprint().add(image.text()).hex(), image.file->path(), [&] { return read_image(image, where); });
  const std::string text = naming(where, [&] { return render(template_, question, placeholders); });
  std::vector<int64_t> ids = tokens_of(text, visual_tokens, where);
  ModelInput input = make_input(spec_, std::move(ids), std::move(pixels), grids, where, sizes);
  require(input.length() <= spec_.context_length(),
          "{}: a prompt of {} tokens, {} of them from {} pictures; the model's context is {}", where, input.length(),
          input.visual_tokens(), grids.size(), spec_.context_length());
  return input;
}

std::string Processor::text_of(const std::vector<int64_t>& tokens) const {
  return std::string(strip(tokenizer_->decode(tokens, true)));
}

}  // namespace yopo
