#include "models/prompt_template.h"

#include "core/error.h"
#include "core/json.h"
#include "models/chat_template.h"

namespace yopo {

namespace {

/// The system text of all templates of InternVL2.
constexpr const char* kInternVlSystem =
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。";

/// The templates by family: only those with its image marks can be picked for a model.
const std::vector<PromptTemplate>& llava_templates() {
  static const std::vector<PromptTemplate> templates = {
      // vicuna_v1 of LLaVA-1.5: sentences and roles joined by one space.
      {"vicuna_v1",
       "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
       "and polite answers to the user's questions. ",
       "USER: ", " ASSISTANT:", "<image>", "", "", "\n", "</s>"},
      // The chat template of the llava-hf/llava-1.5 checkpoints, which leave the system text out.
      {"llava-hf", "", "USER: ", " ASSISTANT:", "<image>", "", "", "\n", "</s>"},
  };
  return templates;
}

const std::vector<PromptTemplate>& qwen2_vl_templates() {
  static const std::vector<PromptTemplate> templates = {
      {"qwen2-vl", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", "<|im_start|>user\n",
       "<|im_end|>\n<|im_start|>assistant\n", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "", "<|im_end|>"},
  };
  return templates;
}

const std::vector<PromptTemplate>& internvl_templates() {
  // Separator style MPT: the separator ends every turn, and no newline follows it.
  const auto form = [](const char* name, const std::string& sep, const std::string& system, const std::string& user,
                       const std::string& assistant) {
    return PromptTemplate{
        name, system + kInternVlSystem + sep, user, sep + assistant, "<IMG_CONTEXT>", "<img>", "</img>", "\n", sep};
  };
  static const std::vector<PromptTemplate> templates = {
      form("internlm2-chat", "<|im_end|>", "<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"),
      form("phi3-chat", "<|end|>", "<|system|>\n", "<|user|>\n", "<|assistant|>\n"),
      form("Hermes-2", "<|im_end|>", "<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"),
  };
  return templates;
}

const std::vector<PromptTemplate>& templates_of(const ModelSpec& spec) {
  if (spec.model_type == "qwen2_vl") return qwen2_vl_templates();
  if (spec.model_type == "internvl_chat") return internvl_templates();
  return llava_templates();
}

const PromptTemplate& template_named(const std::vector<PromptTemplate>& templates, const std::string& name,
                                     const std::string& why) {
  std::vector<std::string> names;
  for (const PromptTemplate& form : templates) {
    if (form.name == name) return form;
    names.push_back(form.name);
  }
  fail("{}; the templates that can be picked are {}{}", why, fmt::join(names, ", "), did_you_mean(name, names));
}

}  // namespace

PromptTemplate prompt_template(const fs::path& folder, const ModelSpec& spec, const std::string& name) {
  const std::vector<PromptTemplate>& templates = templates_of(spec);
  if (!name.empty())
    return template_named(templates, name, fmt::format("prompt template '{}' is not known", printable(name)));
  if (spec.model_type == "internvl_chat") {
    const fs::path file = folder / "config.json";
    const std::string asked = get_string(read_json(file), "template", file.string());
    return template_named(templates, asked,
                          fmt::format("{}: template '{}' is not known", file.string(), printable(asked)));
  }
  const bool qwen = spec.model_type == "qwen2_vl";
  if (!qwen && !spec.expanded_placeholders) return template_named(templates, "vicuna_v1", "");
  const std::string expected = qwen ? "qwen2-vl" : "llava-hf";
  if (const std::optional<ChatTemplate> found = find_chat_template(folder);
      found && recognise_chat_template(found->text) != expected)
    template_named(templates, "", found->where + ": this chat template is not one that is recognised");
  return template_named(templates, expected, "");
}

std::string render(const PromptTemplate& form, const std::string& question, int64_t images) {
  ensure(images >= 0, "a negative number of images");
  return render(form, question, std::vector<int64_t>(size_t(images), 1));
}

std::string render(const PromptTemplate& form, const std::string& question, const std::vector<int64_t>& visual_tokens) {
  std::string text = form.system + form.user;
  for (const int64_t count : visual_tokens) {
    ensure(count > 0, "an image without visual tokens");
    text += form.image_start;
    for (int64_t i = 0; i < count; ++i) text += form.placeholder;
    text += form.image_end + form.image_join;
  }
  return text + question + form.assistant;
}

}  // namespace yopo
