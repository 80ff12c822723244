#include "models/prompt.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "core/error.h"
#include "datasets/sample.h"
#include "datasets/unicode.h"
#include "models/image_processor.h"

namespace yopo {

namespace {

constexpr std::string_view kPlaceholder = "<image>";

const std::vector<PromptTemplate>& known_templates() {
  static const std::vector<PromptTemplate> templates = {
      // vicuna_v1 of LLaVA-1.5: sentences and roles joined by one space.
      {"vicuna_v1",
       "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
       "and polite "
       "answers to the user's questions. ",
       "USER: ", " ASSISTANT:", "<image>\n"},
      // The chat template of the llava-hf/llava-1.5 checkpoints, which leave the system text out.
      {"llava-hf", "", "USER: ", " ASSISTANT:", "<image>\n"},
  };
  return templates;
}

const PromptTemplate& template_named(const std::string& name, const std::string& why) {
  std::vector<std::string> names;
  for (const PromptTemplate& form : known_templates()) {
    if (form.name == name) return form;
    names.push_back(form.name);
  }
  fail("{}; the templates that can be picked are {}{}", why, fmt::join(names, ", "), did_you_mean(name, names));
}

/// Jinja texts that write a user's turn with its images as template "llava-hf" does, reduced by canonical(). A template
/// is recognised by its text and never run.
constexpr std::string_view kLlavaHfTexts[] = {
    // llava-hf/llava-1.5-7b-hf and -13b-hf
    "{%for message in messages%}{%if message['role']!='system'%}{{message['role'].upper()+': '}}{%endif%}"
    "{%for content in message['content']|selectattr('type','equalto','image')%}{{'<image>\n'}}{%endfor%}"
    "{%if message['role']!='assistant'%}"
    "{%for content in message['content']|selectattr('type','equalto','text')%}{{content['text']+' '}}{%endfor%}"
    "{%else%}"
    "{%for content in message['content']|selectattr('type','equalto','text')%}{{content['text']+' '}}{%endfor%}"
    "{%endif%}{%endfor%}{%if add_generation_prompt%}{{'ASSISTANT:'}}{%endif%}",
    // The same conversation with the text written outside of expressions.
    "{%for message in messages%}{%if message['role']=='user'%}USER: {%else%}ASSISTANT: {%endif%}"
    "{%for content in message['content'] if content['type']=='image'%}<image>\n{%endfor%}"
    "{%for content in message['content'] if content['type']=='text'%}{{content['text']}}{%endfor%}"
    "{%if message['role']=='user'%} {%else%}</s>{%endif%}{%endfor%}{%if add_generation_prompt%}ASSISTANT:{%endif%}",
};

/// Drops blanks of a Jinja tag that mean nothing: around operators and at the ends; one is kept between words.
std::string tighten(std::string_view tag) {
  std::string out;
  char quote = 0;
  bool blank = false;
  const auto is_word = [](char c) { return std::isalnum(uint8_t(c)) || c == '_'; };
  // "if" behind a bracket is a word of its own, so a blank also stays between a bracket and a word.
  const auto ends_value = [&](char c) { return is_word(c) || c == ']' || c == ')' || c == '\''; };
  for (size_t i = 0; i < tag.size(); ++i) {
    const char c = tag[i];
    if (quote) {
      if (c == '\\' && i + 1 < tag.size() && tag[i + 1] == 'n') {
        out += '\n';
        ++i;
        continue;
      }
      out += c == quote ? '\'' : c;
      if (c == quote) quote = 0;
      continue;
    }
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      blank = true;
      continue;
    }
    if (blank && !out.empty() && ends_value(out.back()) && is_word(c)) out += ' ';
    blank = false;
    if (c == '\'' || c == '"') quote = c;
    out += quote ? '\'' : c;
  }
  return out;
}

/// What `plain`, in front of a tag, comes to: transformers compiles templates with lstrip_blocks, which drops blanks
/// between the start of a line and a block, and {%- drops all white space.
std::string_view trim_before(std::string_view plain, bool at_line_start, bool block, bool dash) {
  if (dash) return strip_right(plain);
  const size_t newline = plain.rfind('\n');
  if (!block || (newline == std::string_view::npos && !at_line_start)) return plain;
  const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
  return plain.find_first_not_of(" \t", start) == std::string_view::npos ? plain.substr(0, start) : plain;
}

/// A Jinja text without comments, generation marks (they only point at the assistant's words), idle blanks in tags, and
/// the white space that blank control takes away.
std::string canonical(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);  // Jinja drops it
  std::string out;
  bool trim_next = false, line_start = true;
  while (!text.empty()) {
    size_t open = text.find('{');
    while (open != std::string_view::npos &&
           (open + 1 >= text.size() || std::string_view("{%#").find(text[open + 1]) == std::string_view::npos))
      open = text.find('{', open + 1);
    std::string_view plain = text.substr(0, open);
    if (trim_next) plain = strip_left(plain);
    if (open == std::string_view::npos) return out.append(plain);
    const char kind = text[open + 1];
    const bool dash = open + 2 < text.size() && text[open + 2] == '-';
    out += trim_before(plain, line_start, kind != '{', dash);

    const std::string close = kind == '{' ? "}}" : std::string(1, kind) + "}";
    const size_t end = text.find(close, open + 2);
    if (end == std::string_view::npos) return std::string(text);  // not Jinja: matches nothing
    std::string_view inner = text.substr(open + 2, end - open - 2);
    if (dash) inner.remove_prefix(1);
    trim_next = inner.ends_with('-');
    if (trim_next) inner.remove_suffix(1);
    text.remove_prefix(end + 2);
    line_start = kind != '{' && text.starts_with('\n');  // trim_blocks: a block swallows the newline behind it
    if (line_start) text.remove_prefix(1);
    const std::string tag = tighten(inner);
    if (kind == '{') out += "{{" + tag + "}}";
    if (kind == '%' && tag != "generation" && tag != "endgeneration") out += "{%" + tag + "%}";
  }
  return out;
}

struct ChatTemplate {
  std::string text, where;
};

/// The template string of a checkpoint, from the first file that has one, in transformers' order; none: nullopt.
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

PromptTemplate prompt_template(const fs::path& folder, const ModelSpec& spec, const std::string& name) {
  if (!name.empty()) return template_named(name, fmt::format("prompt template '{}' is not known", printable(name)));
  if (!spec.expanded_placeholders) return template_named("vicuna_v1", "");
  const std::optional<ChatTemplate> found = find_chat_template(folder);
  if (found) {
    const std::string text = canonical(found->text);
    const bool known = std::any_of(std::begin(kLlavaHfTexts), std::end(kLlavaHfTexts),
                                   [&](std::string_view one) { return one == text; });
    if (!known) template_named("", found->where + ": this chat template is not one that is recognised");
  }
  return template_named("llava-hf", "");
}

std::string render(const PromptTemplate& form, const std::string& question, int64_t images) {
  ensure(images >= 0, "a negative number of images");
  std::string text = form.system + form.user;
  for (int64_t i = 0; i < images; ++i) text += form.image;
  return text + question + form.assistant;
}

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
  return make_input(spec_, std::move(ids), std::move(pixels), square_grids(spec_, count), where);
}

std::string Processor::text_of(const std::vector<int64_t>& tokens) const {
  return std::string(strip(tokenizer_->decode(tokens, true)));
}

}  // namespace yopo
