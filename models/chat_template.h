// Jinja chat templates of checkpoints.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "text/jinja.h"

namespace yopo {

struct ChatTemplate {
  std::string text;
  std::string where;  // file and key, for messages
};

/// The template of a checkpoint folder, from the first file that has one, in transformers' order; nullopt where none
/// has. UserError for a value of a wrong type or a list without a "default".
std::optional<ChatTemplate> find_chat_template(const fs::path& folder);

/// A template that writes prompts: one user turn of images and a question, and the start of the answer. Const members
/// may be called from several threads at once.
class ChatWriter {
 public:
  /// `placeholder`: what the template writes for an image. For templates that take a message as plain text, `image` is
  /// what stands in it for an image. Tokens of tokenizer_config.json in `folder` are variables of the template, as in
  /// transformers. UserError, saying why, for a template that cannot be run or that does not write the question and
  /// each image once.
  ChatWriter(const ChatTemplate& form, const fs::path& folder, std::string placeholder, std::string image);
  /// The prompt with one placeholder an image. UserError where the template refuses the question.
  std::string write(const std::string& question, size_t images) const;
  /// The same template where transformers' processor writes `start` and `end` around what the template has for an
  /// image.
  ChatWriter framed(std::string start, std::string end) const;

 private:
  std::string rendered(const std::string& question, size_t images) const;
  std::shared_ptr<const Jinja> jinja_;
  std::string where_, placeholder_, image_, start_, end_;
  Json variables_;
  bool parts_ = true;  // a message is a list of parts; else a text
};

}  // namespace yopo
