#include "models/prompt_template.h"

#include "core/system_error.h"
#include "models/chat_template.h"
#include "models/family.h"

namespace yopo {

namespace {

std::string repeated(const std::string& text, int64_t count) {
  std::string out;
  for (int64_t i = 0; i < count; ++i) out += text;
  return out;
}

}  // namespace

const PromptTemplate& template_named(const std::vector<PromptTemplate>& templates, const std::string& name,
                                     const std::string& why) {
  std::vector<std::string> names;
  for (const PromptTemplate& form : templates) {
    if (form.name == name) return form;
    names.push_back(form.name);
  }
  fail("{}; the templates that can be picked (--template NAME, in a recipe model.template) are {}{}", why,
       fmt::join(names, ", "), did_you_mean(name, names));
}

PromptTemplate own_template(const std::vector<PromptTemplate>& templates, const fs::path& folder,
                            const std::string& otherwise) {
  PromptTemplate form = template_named(templates, otherwise, "a family names its own templates");
  const std::optional<ChatTemplate> found = find_chat_template(folder);
  if (!found) return form;
  try {
    form.own = std::make_shared<const ChatWriter>(
        *found, folder, form.placeholder, form.image_start + form.placeholder + form.image_end + form.image_join);
  } catch (const SystemError&) {
    throw;
  } catch (const UserError& error) {
    template_named(templates, "", fmt::format("this chat template cannot be used: {}", error.what()));
  }
  form.name = found->where;
  return form;
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
  for (const int64_t count : visual_tokens) ensure(count > 0, "an image without visual tokens");
  if (!form.own) {
    std::string text = form.system + form.user;
    for (const int64_t count : visual_tokens)
      text += form.image_start + repeated(form.placeholder, count) + form.image_end + form.image_join;
    return text + question + form.assistant;
  }
  const std::string written = form.own->write(question, visual_tokens.size());
  std::string text;
  size_t done = 0;
  for (const int64_t count : visual_tokens) {
    const size_t at = written.find(form.placeholder, done);
    text += written.substr(done, at - done) + repeated(form.placeholder, count);
    done = at + form.placeholder.size();
  }
  return text + written.substr(done);
}

}  // namespace yopo
