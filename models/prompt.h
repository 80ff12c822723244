// From a question and its images to input ids.
#pragma once

#include "images/recent_pixels.h"
#include "models/input.h"
#include "models/prompt_template.h"
#include "models/spec.h"
#include "text/tokenizer.h"

namespace yopo {

struct EncodedImage;
struct Sample;

/// How prompts are made where it is not as the checkpoint's own files say.
struct PromptOptions {
  std::string chat_template;    // a template of the family by name; "": the checkpoint's own
  std::string image_backend;    // pil or torchvision; "": what the checkpoint's files ask for
  bool exif_transpose = false;  // images are turned as their Exif blocks say, which no processor does by itself
  /// All of it in words, for fingerprints; "" where nothing is said.
  std::string text() const;
};

/// Everything that turns samples into ModelInput: tokenizer, template, image rules. Const members may be
/// called from several threads at once.
class Processor {
 public:
  explicit Processor(const OpenModel& model, const PromptOptions& options = {});
  /// Reads the images, fills the template, tokenises (placeholders written out before tokenising; where they are not
  /// expanded: in chunks around them, one a picture). UserError naming `where` for what is wrong with an
  /// image or the question, for a prompt longer than the model's context, and where the tokenizer does not find each
  /// placeholder.
  ModelInput prepare(const std::string& question, const std::vector<fs::path>& images, const std::string& where) const;
  /// As above, with images that lie inside a file behind those of their own.
  ModelInput prepare(const std::string& question, const std::vector<fs::path>& images,
                     const std::vector<EncodedImage>& encoded, const std::string& where) const;
  ModelInput prepare(const Sample& sample) const;
  std::string text_of(const std::vector<int64_t>& tokens) const;  // special tokens skipped, ends stripped
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  std::vector<int64_t> tokens_of(const std::string& text, int64_t visual_tokens, const std::string& where) const;

  ModelSpec spec_;
  PromptTemplate template_;
  fs::path tokenizer_file_;
  std::string bos_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<RecentPixels> recent_;
};

}  // namespace yopo
