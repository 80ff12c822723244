#include "models/prompt_template.h"

#include "core/error.h"
#include "models/chat_template.h"
#include "models/family.h"

namespace yopo {

const PromptTemplate& template_named(const std::vector<PromptTemplate>& templates, const std::string& name,
                                     const std::string& why) {
  std::vector<std::string> names;
  for (const PromptTemplate& form : templates) {
    if (form.name == name) return form;
    names.push_back(form.name);
  }
  fail("{}; the templates that can be picked are {}{}", why, fmt::join(names, ", "), did_you_mean(name, names));
}

const PromptTemplate& recognised_template(const std::vector<PromptTemplate>& templates, const fs::path& folder,
                                          const std::string& otherwise) {
  const std::optional<ChatTemplate> found = find_chat_template(folder);
  if (!found) return template_named(templates, otherwise, "a family names its own templates");
  for (const PromptTemplate& form : templates)
    for (const std::string& text : form.jinja)
      if (same_chat_template(found->text, text)) return form;
  return template_named(templates, "", found->where + ": this chat template is not one that is recognised");
}

PromptTemplate prompt_template(const fs::path& folder, const ModelSpec& spec, const std::string& name) {
  const Family& family = family_of(spec);
  if (name.empty()) return family.choose_template(folder, spec);
  return template_named(family.templates, name, fmt::format("prompt template '{}' is not known", printable(name)));
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
