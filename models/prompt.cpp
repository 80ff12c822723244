#include "models/prompt.h"

#include <algorithm>

#include "core/error.h"
#include "datasets/sample.h"
#include "datasets/unicode.h"
#include "models/image_processor.h"

namespace yopo {

namespace {

constexpr std::string_view kPlaceholder = "<image>";

size_t count_placeholders(std::string_view text) {
  size_t count = 0;
  for (size_t at = text.find(kPlaceholder); at != std::string_view::npos;
       at = text.find(kPlaceholder, at + kPlaceholder.size()))
    ++count;
  return count;
}

/// LLaVA's tokenizer_image_token: the parts around <image> are tokenised each with its own bos, of which the first
/// stays, and the placeholder's id goes between.
std::vector<int64_t> encode_chunks(const Tokenizer& tokenizer, std::string_view prompt, const ModelSpec& spec) {
  std::vector<int64_t> ids;
  bool bos = false;
  for (bool first = true;; first = false) {
    const size_t end = prompt.find(kPlaceholder);
    const std::vector<int64_t> chunk = tokenizer.encode(prompt.substr(0, end), true);
    if (first) bos = !chunk.empty() && chunk[0] == spec.bos_token_id;
    if (first && bos) ids.push_back(chunk[0]);
    ids.insert(ids.end(), chunk.begin() + std::min<std::ptrdiff_t>(bos ? 1 : 0, std::ptrdiff_t(chunk.size())),
               chunk.end());
    if (end == std::string_view::npos) return ids;
    ids.push_back(spec.image_token_id);
    prompt.remove_prefix(end + kPlaceholder.size());
  }
}

}  // namespace

Processor::Processor(const OpenModel& model, const std::string& template_name)
    : spec_(model.spec),
      template_(prompt_template(model.checkpoint.folder(), model.spec, template_name)),
      tokenizer_(open_tokenizer(model.checkpoint.folder())) {
  const std::string where = model.checkpoint.folder().string();
  if (spec_.expanded_placeholders) {
    const int64_t id = tokenizer_->id_of(kPlaceholder);
    require(id == spec_.image_token_id, "{}: config.json has image token {}, the tokenizer {} for {}", where,
            spec_.image_token_id, id < 0 ? "none" : std::to_string(id), kPlaceholder);
  }
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
  require(count_placeholders(question) == 0, "{}: the question holds {}; images are named beside it", where,
          kPlaceholder);
  std::vector<float> pixels;  // [images, 3, image_size, image_size]
  const auto add = [&](const Image& image, const fs::path& path) {
    try {
      const std::vector<float> one = process_image(spec_.image, image);
      require(int64_t(one.size()) == 3 * spec_.vision.image_size * spec_.vision.image_size,
              "preprocessor_config.json leaves it with another size than the tower's {0} x {0}",
              spec_.vision.image_size);
      pixels.insert(pixels.end(), one.begin(), one.end());
    } catch (const UserError& error) {
      fail("{}: {}: {}", where, path.string(), error.what());
    }
  };
  for (const fs::path& path : images) add(read_image(path, where), path);
  for (const EncodedImage& image : encoded) add(read_image(image, where), image.file->path());
  const int64_t count = int64_t(images.size() + encoded.size());
  std::string text = render(template_, question, count);
  std::vector<int64_t> ids;
  if (spec_.expanded_placeholders) {
    std::string copies;
    for (int64_t i = 0; i < spec_.image_tokens(); ++i) copies += kPlaceholder;
    ids = tokenizer_->encode(replace_all(text, kPlaceholder, copies), true);
  } else {
    ids = encode_chunks(*tokenizer_, text, spec_);
  }
  return make_input(spec_, std::move(ids), std::move(pixels), count, where);
}

std::string Processor::text_of(const std::vector<int64_t>& tokens) const {
  return std::string(strip(tokenizer_->decode(tokens, true)));
}

}  // namespace yopo
