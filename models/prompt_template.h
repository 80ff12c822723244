// Prompt templates as data: from a question and a number of images to the text of a prompt.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/file.h"

namespace yopo {

class ChatWriter;
struct ModelSpec;

/// How a conversation of one question is written down.
struct PromptTemplate {
  std::string name;         // by which it can be picked
  std::string system;       // with its marks and separator: "A chat between ... questions. "
  std::string user;         // in front of the images and the question: "USER: "
  std::string assistant;    // behind the question: " ASSISTANT:"
  std::string placeholder;  // stands once for each visual token, or once for an image: "<image>"
  std::string image_start;  // in front of an image's placeholders
  std::string image_end;    // behind them
  std::string image_join;   // between an image and what follows: "\n"
  std::string stop;         // the token that ends the assistant's turn: "</s>"
  /// The checkpoint's own template, which then writes everything; the fields above only say what an image is.
  std::shared_ptr<const ChatWriter> own = nullptr;
};

/// The template a checkpoint folder asks for by the rule of its family, or the one of that `name`, which must be one of
/// the family's. UserError for a Jinja text that cannot be run unless `name` picks a template, and for a name that is
/// not known.
PromptTemplate prompt_template(const fs::path& folder, const ModelSpec& spec, const std::string& name = "");

/// The template of that name; a UserError that begins with `why` and names those there are if there is none.
const PromptTemplate& template_named(const std::vector<PromptTemplate>& templates, const std::string& name,
                                     const std::string& why);

/// The one named `otherwise`, written by the Jinja text of the checkpoint folder where it has one. UserError for a text
/// that cannot be run, naming the templates that can be picked instead.
PromptTemplate own_template(const std::vector<PromptTemplate>& templates, const fs::path& folder,
                            const std::string& otherwise);

/// The prompt's text with one placeholder per image, the images in front of the question.
std::string render(const PromptTemplate& form, const std::string& question, int64_t images);

/// The prompt's text with `visual_tokens[i]` placeholders for image i. UserError where the checkpoint's own template
/// refuses the question.
std::string render(const PromptTemplate& form, const std::string& question, const std::vector<int64_t>& visual_tokens);

}  // namespace yopo
