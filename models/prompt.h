// From a question and its images to input ids: chat templates as data.
#pragma once

#include "models/input.h"
#include "models/spec.h"
#include "models/tokenizer.h"

namespace yopo {

struct EncodedImage;
struct Sample;

/// How a conversation is written down.
struct PromptTemplate {
  std::string name;        // "vicuna_v1", "llava-hf"
  std::string system;      // with its separator: "A chat between ... questions. "
  std::string user;        // "USER: "
  std::string assistant;   // " ASSISTANT:"
  std::string image;       // "<image>\n" in front of the user's text, once per image
};

/// The template a checkpoint folder asks for. llava-hf: "USER: <image>\n{q} ASSISTANT:" without system text (as its
/// chat_template); original layout: vicuna_v1 with the system text. A chat_template(.json) of another form than the known
/// ones is a UserError unless `name` picks one.
PromptTemplate prompt_template(const fs::path& folder, const ModelSpec& spec, const std::string& name = "");

/// The prompt's text with `<image>` where images go.
std::string render(const PromptTemplate& form, const std::string& question, int64_t images);

/// Everything that turns samples into ModelInput: tokenizer, template, image rules.
class Processor {
 public:
  explicit Processor(const OpenModel& model, const std::string& template_name = "");
  /// Reads the images, fills the template, tokenises (llava-hf: placeholders expanded before tokenising; original: LLaVA's
  /// chunked tokenising around <image>), expands placeholders. UserError names `where`.
  ModelInput prepare(const std::string& question, const std::vector<fs::path>& images, const std::string& where) const;
  /// As above, with images that lie inside a file behind those of their own.
  ModelInput prepare(const std::string& question, const std::vector<fs::path>& images,
                     const std::vector<EncodedImage>& encoded, const std::string& where) const;
  ModelInput prepare(const Sample& sample) const;
  std::string text_of(const std::vector<int64_t>& tokens) const;  // special tokens skipped, ends stripped
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  ModelSpec spec_;
  PromptTemplate template_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

}  // namespace yopo
