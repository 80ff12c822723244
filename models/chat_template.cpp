#include "models/chat_template.h"

#include "core/json.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace yopo {

namespace {

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

/// What transformers gives every template besides the conversation.
Json variables_of(const fs::path& folder) {
  const TokenizerConfig config = tokenizer_config(folder);
  Json variables = {{"add_generation_prompt", true}, {"tools", nullptr}, {"documents", nullptr}};
  const auto add = [&](const char* name, const std::string& token) {
    if (!token.empty()) variables[name] = token;
  };
  add("bos_token", config.bos_token);
  add("eos_token", config.eos_token);
  add("unk_token", config.unk_token);
  return variables;
}

}  // namespace

std::optional<ChatTemplate> find_chat_template(const fs::path& folder) {
  if (const fs::path file = folder / "chat_template.jinja"; fs::exists(file))
    return ChatTemplate{read_text(file, 1 << 20), file.string()};
  for (const char* name : {"chat_template.json", "processor_config.json", "tokenizer_config.json"}) {
    const fs::path file = folder / name;
    if (!fs::exists(file)) continue;
    const Json json = read_json(file);
    if (!has(json, "chat_template")) continue;
    const Json& value = json.at("chat_template");
    const std::string where = file.string() + ": chat_template";
    if (value.is_string()) return ChatTemplate{value.get<std::string>(), where};
    require(value.is_array(), "{}: expected a text or a list of named templates", where);
    for (const Json& entry : value)
      if (get_string(entry, "name", where) == "default")
        return ChatTemplate{get_string(entry, "template", where), where};
    fail("{}: no template has the name default", where);
  }
  return std::nullopt;
}

ChatWriter::ChatWriter(const ChatTemplate& form, const fs::path& folder, std::string placeholder, std::string image)
    : jinja_(std::make_shared<const Jinja>(form.text, form.where)),
      where_(form.where),
      placeholder_(std::move(placeholder)),
      image_(std::move(image)),
      variables_(variables_of(folder)) {
  // No template writes this by itself.
  const std::string question = "the question's text, 4711";
  const auto fits = [&](size_t images) {
    const std::string text = rendered(question, images);
    require(count_of(text, question) == 1, "{}: it does not write the question of the user's turn once", where_);
    require(count_of(text, placeholder_) == images, "{}: it writes {} {} for {} images", where_,
            count_of(text, placeholder_), placeholder_, images);
  };
  const auto fits_all = [&] {
    for (const size_t images : {1, 0, 2}) fits(images);
  };
  try {
    fits_all();
  } catch (const UserError& error) {
    parts_ = false;  // templates of language models take a message as plain text
    try {
      fits_all();
    } catch (const UserError& again) {
      fail("{}; and with the message as one text: {}", error.what(), again.what());
    }
  }
}

std::string ChatWriter::rendered(const std::string& question, size_t images) const {
  Json content;
  if (parts_) {
    content = Json::array();
    for (size_t i = 0; i < images; ++i) content.push_back({{"type", "image"}});
    content.push_back({{"type", "text"}, {"text", question}});
  } else {
    std::string text;
    for (size_t i = 0; i < images; ++i) text += image_;
    content = text + question;
  }
  Json variables = variables_;
  Json message = Json::object();
  message["role"] = "user";
  message["content"] = std::move(content);
  variables["messages"] = Json::array({std::move(message)});
  return jinja_->render(variables);
}

std::string ChatWriter::write(const std::string& question, size_t images) const {
  std::string text = rendered(question, images);
  require(count_of(text, placeholder_) == images, "{}: it writes {} {} for {} images", where_,
          count_of(text, placeholder_), placeholder_, images);
  if (!parts_) return text;  // what stood for an image in the message is whole
  return replace_all(text, placeholder_, start_ + placeholder_ + end_);
}

ChatWriter ChatWriter::framed(std::string start, std::string end) const {
  ChatWriter writer = *this;
  writer.start_ = std::move(start);
  writer.end_ = std::move(end);
  return writer;
}

}  // namespace yopo
