#include "models/prompt.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::close;
using testing::TemporaryFolder;
using testing::write_file;

const fs::path kDemo = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid";
const fs::path kOriginal = fs::path(YOPO_TEST_DATA) / "fixtures/llava_orig";

/// The chat template of llava-hf/llava-1.5-7b-hf.
const std::string kHub =
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}{# "
    "Render "
    "all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ "
    "'<image>\\n' }}"
    "{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}{% for content in message['content'] "
    "| "
    "selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}{% else %}{% for content in "
    "message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}{{ content['text'] + ' '}}{% "
    "endgeneration "
    "%}{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}";

ModelSpec hf_spec() {
  ModelSpec spec;
  spec.family = "llava";
  spec.layout = "llava-hf";
  return spec;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(PromptTemplate, WritesBothForms) {
  const TemporaryFolder folder;
  const PromptTemplate hf = prompt_template(folder.path(), hf_spec());
  EXPECT_EQ(hf.name, "llava-hf");
  EXPECT_EQ(render(hf, "What is it?", 1), "USER: <image>\nWhat is it? ASSISTANT:");
  EXPECT_EQ(render(hf, "What is it?", 0), "USER: What is it? ASSISTANT:");
  EXPECT_EQ(render(hf, "Same?", 2), "USER: <image>\n<image>\nSame? ASSISTANT:");
  ModelSpec original = hf_spec();
  original.layout = "llava-original";
  original.expanded_placeholders = false;
  const PromptTemplate vicuna = prompt_template(folder.path(), original);
  EXPECT_EQ(vicuna.name, "vicuna_v1");
  EXPECT_EQ(render(vicuna, "What is it?", 1),
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and "
            "polite answers to the user's questions. USER: <image>\nWhat is it? ASSISTANT:");
  EXPECT_EQ(prompt_template(folder.path(), original, "llava-hf").name, "llava-hf");
  EXPECT_EQ(prompt_template(folder.path(), hf_spec(), "vicuna_v1").name, "vicuna_v1");
  EXPECT_USER_ERROR(prompt_template(folder.path(), hf_spec(), "vicuna_v2"), "did you mean 'vicuna_v1'");
}

TEST(PromptTemplate, RecognisesWrittenTemplates) {
  EXPECT_EQ(prompt_template(kDemo / "model", hf_spec()).name, "llava-hf");
  const std::vector<std::string> same = {
      kHub,
      kHub + "\n",
      replaced(kHub, "'<image>\\n'", "'<image>\n'"),
      replaced(kHub, "{{ 'ASSISTANT:' }}", "{{\"ASSISTANT:\"}}"),
      replaced(kHub, "{# Render all images first #}", "{#- another remark -#}"),
      // As an editor would lay it out: blocks swallow the newline behind them and the blanks before them.
      replaced(replaced(kHub, "{% endif %}{# Render", "{% endif %}\n  {# Render"), "{% endfor %}{% if add",
               "{% endfor %}\n{% if add"),
      replaced(kHub, "{% else %}", "\n\n  {%- else -%}  \n"),
  };
  for (const std::string& text : same) {
    const TemporaryFolder folder;
    write_file(folder / "chat_template.json", Json{{"chat_template", text}}.dump());
    EXPECT_EQ(prompt_template(folder.path(), hf_spec()).name, "llava-hf") << text;
  }
}

TEST(PromptTemplate, ReadsEveryPlaceATemplateIsKept) {
  const std::string other = "{{ messages }}";
  for (const auto& [file, content] : std::vector<std::pair<std::string, std::string>>{
           {"chat_template.jinja", "%"},
           {"chat_template.json", R"({"chat_template": "%"})"},
           {"tokenizer_config.json", R"({"chat_template": "%"})"},
           {"tokenizer_config.json",
            R"({"chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": "%"}]})"}}) {
    const TemporaryFolder folder;
    const bool plain = file == "chat_template.jinja";
    const std::string quoted = Json(kHub).dump();
    write_file(folder / file, replaced(content, "%", plain ? kHub : quoted.substr(1, quoted.size() - 2)));
    EXPECT_EQ(prompt_template(folder.path(), hf_spec()).name, "llava-hf") << file;
    write_file(folder / file, replaced(content, "%", other));
    EXPECT_USER_ERROR(prompt_template(folder.path(), hf_spec()), file);
    EXPECT_USER_ERROR(prompt_template(folder.path(), hf_spec()), "vicuna_v1, llava-hf");
    EXPECT_EQ(prompt_template(folder.path(), hf_spec(), "llava-hf").name, "llava-hf");
  }
}

TEST(PromptTemplate, DoesNotTakeAnotherTemplateForAKnownOne) {
  for (const std::string& text :
       {replaced(kHub, "'ASSISTANT:'", "'ASSISTANT: '"), replaced(kHub, "'<image>\\n'", "'<image>'"),
        replaced(kHub, ".upper()", ""), replaced(kHub, "!= 'system'", "== 'system'"), "A chat. " + kHub, kHub + "\n ",
        replaced(kHub, "{% else %}", " {% else %}"), replaced(kHub, "{% endif %}{% endfor %}", "{% endif %}"),
        std::string("{%"), std::string("{{ 'a }}"), std::string()}) {
    const TemporaryFolder folder;
    write_file(folder / "chat_template.jinja", text);
    EXPECT_USER_ERROR(prompt_template(folder.path(), hf_spec()), "not one that is recognised");
  }
}

TEST(Processor, PreparesASampleOfTheDemo) {
  const OpenModel model = open_model(kDemo / "model");
  const Processor processor(model);
  const ModelInput input =
      processor.prepare("Is there a 6 in the image?", {kDemo / "data/test/images/0000.png"}, "questions.jsonl:1");
  const std::vector<int64_t> head = processor.tokenizer().encode("USER: ");
  ASSERT_EQ(input.spans.size(), 1u);
  EXPECT_EQ(input.spans[0].rows, 9);
  EXPECT_EQ(input.spans[0].columns, 9);
  EXPECT_EQ(std::count(input.input_ids.begin(), input.input_ids.end(), 430), 81);
  EXPECT_EQ(int64_t(head.size()), input.spans[0].start);
  EXPECT_TRUE(std::equal(head.begin(), head.end(), input.input_ids.begin()));
  EXPECT_EQ(processor.text_of({input.input_ids.begin() + input.spans[0].start + 81, input.input_ids.end()}),
            "Is there a 6 in the image? ASSISTANT:");
  EXPECT_EQ(input.pixel_values.size(), size_t(3 * 72 * 72));
  const ModelInput text = processor.prepare("Hello", {}, "here");
  EXPECT_EQ(text.images, 0);
  EXPECT_EQ(text.input_ids, processor.tokenizer().encode("USER: Hello ASSISTANT:"));
}

TEST(Processor, EqualsTheReferenceOnTheDemo) {
  const Processor processor(open_model(kDemo / "model"));
  const Json cases = read_json(fs::path(YOPO_TEST_DATA) / "tokenizer/processor_cases.json");
  ASSERT_EQ(cases.size(), 6u);
  for (const Json& one : cases) {
    const ModelInput input = processor.prepare(one["text"].get<std::string>(),
                                               {kDemo / "data/test/images" / one["image"].get<std::string>()}, "case");
    EXPECT_EQ(input.input_ids, one["ids"].get<std::vector<int64_t>>());
    std::vector<float> picked;
    for (size_t i = 0; i < input.pixel_values.size(); i += 97) picked.push_back(input.pixel_values[i]);
    EXPECT_TRUE(close(picked, one["every_97th_pixel"].get<std::vector<float>>(), 0));
  }
}

TEST(Processor, TokenisesTheOriginalLayoutInChunks) {
  const fs::path data = fs::path(YOPO_TEST_DATA) / "tokenizer";
  const Json variants = read_json(data / "prompt_cases.json");
  for (const auto& [name, variant] : variants.items()) {
    const TemporaryFolder folder;
    fs::copy(kOriginal / "model", folder / "model");
    fs::copy(kOriginal / "vision_tower", folder / "vision_tower");
    fs::copy_file(data / "tokenizer.model", folder / "model/tokenizer.model");
    for (const auto& [file, content] : variant["setup"].items()) write_file(folder / "model" / file, content.dump());
    OpenModel model = open_model(folder / "model");
    model.spec.text.vocab_size = 500;  // the fixture's 300 rows are fewer than the tokenizer has tokens
    const Processor processor(model);
    const fs::path image = kDemo / "data/test/images/0000.png";
    for (const Json& one : variant["cases"]) {
      const auto images = one["images"].get<size_t>();
      const ModelInput input =
          processor.prepare(one["text"].get<std::string>(), std::vector<fs::path>(images, image), "case");
      std::vector<int64_t> expected;
      for (const Json& id : one["ids"]) expected.insert(expected.end(), id == -200 ? 36 : 1, id.get<int64_t>());
      EXPECT_EQ(input.input_ids, expected) << name << ": " << one.dump();
      EXPECT_EQ(input.spans.size(), images);
    }
  }
}

TEST(Processor, RefusesWhatDoesNotFit) {
  OpenModel model = open_model(kDemo / "model");
  const Processor processor(model);
  EXPECT_USER_ERROR(processor.prepare("<image>\nWhat?", {}, "q.jsonl:3"), "q.jsonl:3: the question holds <image>");
  EXPECT_USER_ERROR(processor.prepare("What?", {kDemo / "absent.png"}, "q.jsonl:3"), "q.jsonl:3: ");
  EXPECT_USER_ERROR(processor.prepare("What?", {kDemo / "README.md"}, "q.jsonl:3"),
                    "README.md: expected a PNG or JPEG");
  model.spec.image.do_resize = model.spec.image.do_center_crop = false;
  model.spec.vision.image_size = 80;
  EXPECT_USER_ERROR(Processor(model).prepare("What?", {kDemo / "data/test/images/0000.png"}, "q.jsonl:3"),
                    "the vision tower takes 10 x 10");
  model.spec.image_token_id = 431;
  EXPECT_USER_ERROR(Processor{model}, "the image token is 431, but the tokenizer has 430 for <image>");
}

}  // namespace
}  // namespace yopo
