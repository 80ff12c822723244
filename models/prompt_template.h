// Chat templates as data: from a question and a number of images to the text of a prompt.
#pragma once

#include <string>
#include <vector>

#include "models/spec.h"

namespace yopo {

/// How a conversation of one question is written down.
struct PromptTemplate {
  std::string name;         // "vicuna_v1", "llava-hf", "qwen2-vl", "internlm2-chat", "phi3-chat", "Hermes-2"
  std::string system;       // with its marks and separator: "A chat between ... questions. "
  std::string user;         // in front of the images and the question: "USER: "
  std::string assistant;    // behind the question: " ASSISTANT:"
  std::string placeholder;  // stands once for each visual token, or once for an image: "<image>"
  std::string image_start;  // in front of an image's placeholders
  std::string image_end;    // behind them
  std::string image_join;   // between an image and what follows: "\n"
  std::string stop;         // the token that ends the assistant's turn: "</s>"
};

/// The template a checkpoint folder asks for, or the one of that `name`, which must be one of the family's.
///  - LLaVA: "llava-hf" ("USER: <image>\n{q} ASSISTANT:" without system text) for checkpoints with expanded
///  placeholders,
///    "vicuna_v1", with the system text, for the original layout.
///  - Qwen2-VL (model_type "qwen2_vl"): "qwen2-vl".
///  - InternVL2 (model_type "internvl_chat"): what config.json's "template" names: "internlm2-chat", "phi3-chat" or
///    "Hermes-2".
/// LLaVA's and Qwen2-VL's checkpoints may carry a Jinja text; it is recognised, never run. UserError for a text that is
/// none of the known ones unless `name` picks a template, and for a name or a "template" that is not known.
PromptTemplate prompt_template(const fs::path& folder, const ModelSpec& spec, const std::string& name = "");

/// The prompt's text with one placeholder per image, the images in front of the question.
std::string render(const PromptTemplate& form, const std::string& question, int64_t images);

/// The prompt's text with `visual_tokens[i]` placeholders for image i.
std::string render(const PromptTemplate& form, const std::string& question, const std::vector<int64_t>& visual_tokens);

}  // namespace yopo
