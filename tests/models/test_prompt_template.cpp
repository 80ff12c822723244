#include "models/prompt_template.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "models/spec.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;
using testing::write_file;

ModelSpec spec_of(const char* family) {
  ModelSpec spec;
  spec.family = family;
  return spec;
}

PromptTemplate internvl(const std::string& config, const std::string& name = "") {
  const TemporaryFolder folder;
  write_file(folder / "config.json", config);
  return prompt_template(folder.path(), spec_of("internvl2"), name);
}

// How Qwen2-VL's files write it, but for the part about images.
const std::string kQwenHead =
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages "
    "%}{% "
    "if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% "
    "endif "
    "%}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% "
    "else "
    "%}{% for content in message['content'] %}";
const std::string kQwenTail =
    "{% elif content['type'] == 'video' or 'video' in content %}{% set video_count.value = video_count.value + 1 %}{% "
    "if "
    "add_vision_id %}Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>{% elif "
    "'text' in "
    "content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if "
    "add_generation_prompt "
    "%}<|im_start|>assistant\n{% endif %}";
std::string qwen_text(const std::string& separator = "") {
  return kQwenHead +
         "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}{% set image_count.value "
         "= "
         "image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif "
         "%}<|vision_start|><|image_pad|><|vision_end|>" +
         separator + kQwenTail;
}

TEST(PromptTemplate, WritesQwen2Vl) {
  const TemporaryFolder folder;
  const PromptTemplate form = prompt_template(folder.path(), spec_of("qwen2_vl"));  // no file names one
  EXPECT_EQ(form.name, "qwen2-vl");
  EXPECT_EQ(form.stop, "<|im_end|>");
  EXPECT_EQ(form.placeholder, "<|image_pad|>");
  const std::string head = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n";
  const std::string tail = "What is it?<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(render(form, "What is it?", 0), head + tail);
  EXPECT_EQ(render(form, "What is it?", 1), head + "<|vision_start|><|image_pad|><|vision_end|>" + tail);
  EXPECT_EQ(render(form, "What is it?", std::vector<int64_t>{2, 1}),
            head +
                "<|vision_start|><|image_pad|><|image_pad|><|vision_end|><|vision_start|><|image_pad|><|vision_end|>" +
                tail);
}

TEST(PromptTemplate, RunsTheTextOfQwen2Vl) {
  const TemporaryFolder folder;
  const PromptTemplate known = prompt_template(folder.path(), spec_of("qwen2_vl"));
  const std::vector<int64_t> images = {2, 1};
  write_file(folder / "chat_template.json", Json{{"chat_template", qwen_text("{# remark #}")}}.dump());
  EXPECT_EQ(render(prompt_template(folder.path(), spec_of("qwen2_vl")), "What?", images),
            render(known, "What?", images));
  // It has another family's placeholder for the parts of a message, but takes a message as one text too.
  EXPECT_EQ(render(prompt_template(folder.path(), spec_of("llava")), "What?", 1),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\nWhat?<|im_end|>\n"
            "<|im_start|>assistant\n");
  write_file(folder / "chat_template.json", Json{{"chat_template", qwen_text("\n")}}.dump());
  EXPECT_EQ(render(prompt_template(folder.path(), spec_of("qwen2_vl")), "What?", 1),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
            "<|vision_start|><|image_pad|><|vision_end|>\nWhat?<|im_end|>\n<|im_start|>assistant\n");
  write_file(folder / "chat_template.json", Json{{"chat_template", "{{ messages }}"}}.dump());
  EXPECT_USER_ERROR(prompt_template(folder.path(), spec_of("qwen2_vl")),
                    "the templates that can be picked (--template NAME, in a recipe model.template) are qwen2-vl");
  EXPECT_EQ(prompt_template(folder.path(), spec_of("qwen2_vl"), "qwen2-vl").name, "qwen2-vl");
  EXPECT_USER_ERROR(prompt_template(folder.path(), spec_of("qwen2_vl"), "llava-hf"), "'llava-hf' is not known");
}

// transformers' processor writes the marks around an image, not the template.
TEST(PromptTemplate, FramesImagesOfInternVl3) {
  const TemporaryFolder folder;
  const PromptTemplate known = prompt_template(folder.path(), spec_of("internvl3"));
  const std::vector<int64_t> images = {2, 1};
  const std::string expected =
      "<|im_start|>user\n<img><IMG_CONTEXT><IMG_CONTEXT></img>\n<img><IMG_CONTEXT></img>\nWhat?<|im_end|>\n"
      "<|im_start|>assistant\n";
  EXPECT_EQ(render(known, "What?", images), expected);
  const std::string head = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n'}}";
  const std::string tail =
      "{{'<|im_end|>\\n'}}{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\\n' }}{% endif %}";
  const std::string parts =
      "{% for content in message['content'] %}{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}{% elif "
      "content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}";
  write_file(folder / "chat_template.jinja", head + parts + tail);
  EXPECT_EQ(render(prompt_template(folder.path(), spec_of("internvl3")), "What?", images), expected);
  write_file(folder / "chat_template.jinja", head + "{{ message['content'] + '' }}" + tail);  // one text
  EXPECT_EQ(render(prompt_template(folder.path(), spec_of("internvl3")), "What?", images), expected);
}

TEST(PromptTemplate, WritesInternVl2) {
  const std::string text =
      "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。";
  const std::string chat = "<|im_start|>system\n" + text +
                           "<|im_end|><|im_start|>user\n<img><IMG_CONTEXT><IMG_CONTEXT></img>\nWhat?<|im_end|>"
                           "<|im_start|>assistant\n";
  for (const char* name : {"internlm2-chat", "Hermes-2"}) {
    const PromptTemplate form = internvl(std::string(R"({"template": ")") + name + "\"}");
    EXPECT_EQ(form.name, name);
    EXPECT_EQ(form.stop, "<|im_end|>");
    EXPECT_EQ(render(form, "What?", std::vector<int64_t>{2}), chat);
  }
  const PromptTemplate phi = internvl(R"({"template": "phi3-chat"})");
  EXPECT_EQ(phi.stop, "<|end|>");
  EXPECT_EQ(render(phi, "Same?", 2), "<|system|>\n" + text +
                                         "<|end|><|user|>\n<img><IMG_CONTEXT></img>\n<img><IMG_CONTEXT></img>\nSame?"
                                         "<|end|><|assistant|>\n");
}

TEST(PromptTemplate, WritesInternVl2_5) {
  const PromptTemplate form = internvl(R"({"template": "internvl2_5"})");
  EXPECT_EQ(form.stop, "<|im_end|>");
  EXPECT_EQ(render(form, "What?", std::vector<int64_t>{2}),
            "<|im_start|>"
            "system\n你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大"
            "语言模型。<|im_end|>\n<|im_start|>user\n<img><IMG_CONTEXT><IMG_CONTEXT></img>\nWhat?<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(PromptTemplate, RefusesAnUnknownInternVlTemplate) {
  EXPECT_USER_ERROR(
      internvl(R"({"template": "internlm2-chat-v3"})"),
      "config.json: template 'internlm2-chat-v3' is not known; the templates that can be picked (--template "
      "NAME, in a recipe model.template) are internlm2-chat, phi3-chat, Hermes-2, internvl2_5; did you mean "
      "'internlm2-chat'?");
  EXPECT_USER_ERROR(internvl(R"({"template": 3})"), "template");
  EXPECT_USER_ERROR(internvl("{}"), "template");
  EXPECT_EQ(internvl("{}", "phi3-chat").name, "phi3-chat");
  EXPECT_USER_ERROR(internvl(R"({"template": "phi3-chat"})", "phi-chat"), "did you mean 'phi3-chat'");
}

}  // namespace
}  // namespace yopo
