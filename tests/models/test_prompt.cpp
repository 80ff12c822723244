#include "models/prompt.h"

#include <sys/fsuid.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "core/progress.h"
#include "core/system_error.h"
#include "models/context.h"
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

const std::string kWritten = "USER: <image>\n<image>\nSame? ASSISTANT:";

TEST(PromptTemplate, RunsTheCheckpointsOwn) {
  EXPECT_EQ(render(prompt_template(kDemo / "model", hf_spec()), "Same?", 2), kWritten);
  const TemporaryFolder folder;
  write_file(folder / "chat_template.jinja", kHub);
  EXPECT_EQ(render(prompt_template(folder.path(), hf_spec()), "Same?", 2), kWritten);
  EXPECT_EQ(render(prompt_template(folder.path(), hf_spec()), "Same?", std::vector<int64_t>{3}),
            "USER: <image><image><image>\nSame? ASSISTANT:");
  // What a change of the text means follows from the text.
  write_file(folder / "chat_template.jinja", replaced(kHub, "'ASSISTANT:'", "'ASSISTANT: '"));
  EXPECT_EQ(render(prompt_template(folder.path(), hf_spec()), "Same?", 2), kWritten + " ");
  write_file(folder / "chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}");
  write_file(folder / "tokenizer_config.json", R"({"bos_token": "<b>"})");
  EXPECT_EQ(render(prompt_template(folder.path(), hf_spec()), "Same?", 1), "<b><image>\nSame?")
      << "a message as one text";
}

// The disk's fault is no fault of the template, without which a report would count other prompts.
TEST(PromptTemplate, SaysWhatTheSystemRefuses) {
  const TemporaryFolder folder;
  write_file(folder / "chat_template.jinja", kHub);
  write_file(folder / "special_tokens_map.json", "{}");
  const auto write = [&] { return prompt_template(folder.path(), hf_spec()); };
  EXPECT_NO_THROW(write());
  fs::permissions(folder.path(), fs::perms(0755));
  fs::permissions(folder / "special_tokens_map.json", fs::perms::none);
  const int before = ::setfsuid(geteuid() == 0 ? 65534 : geteuid());  // root may read everything
  EXPECT_THROW(write(), SystemError);
  ::setfsuid(uid_t(before));
}

TEST(PromptTemplate, ReadsEveryPlaceATemplateIsKept) {
  const std::string other = "{{ messages }}";
  for (const auto& [file, content] : std::vector<std::pair<std::string, std::string>>{
           {"chat_template.jinja", "%"},
           {"chat_template.json", R"({"chat_template": "%"})"},
           {"processor_config.json", R"({"chat_template": "%"})"},
           {"tokenizer_config.json", R"({"chat_template": "%"})"},
           {"tokenizer_config.json",
            R"({"chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": "%"}]})"}}) {
    const TemporaryFolder folder;
    const bool plain = file == "chat_template.jinja";
    const std::string quoted = Json(kHub).dump();
    write_file(folder / file, replaced(content, "%", plain ? kHub : quoted.substr(1, quoted.size() - 2)));
    EXPECT_EQ(render(prompt_template(folder.path(), hf_spec()), "Same?", 2), kWritten) << file;
    write_file(folder / file, replaced(content, "%", other));
    EXPECT_USER_ERROR(prompt_template(folder.path(), hf_spec()), file);
    EXPECT_USER_ERROR(prompt_template(folder.path(), hf_spec()), "vicuna_v1, llava-hf");
    EXPECT_EQ(prompt_template(folder.path(), hf_spec(), "llava-hf").name, "llava-hf");
  }
}

TEST(PromptTemplate, RefusesATextThatDoesNotShowWhatIsAsked) {
  for (const auto& [text, why] : std::vector<std::pair<std::string, std::string>>{
           {replaced(kHub, "'<image>\\n'", "'picture'"), "it writes 0 <image> for 1 images"},
           {replaced(kHub, "'<image>\\n'", "'<image><image>'"), "it writes 2 <image> for 1 images"},
           {"<image>" + kHub, "it writes 2 <image> for 1 images"},
           {replaced(kHub, "{{ content['text'] + ' '}}", ""), "it does not write the question"},
           {replaced(kHub, "{{ content['text'] + ' '}}", "{{ content['text'] * 2 }}"),
            "expected a number, found string"},
           {replaced(kHub, "{{ 'ASSISTANT:' }}", "{{ raise_exception('no') }}"), "refuses the conversation: no"},
           {"{%", "a tag does not end"},
           {"{{ 'a }}", "a string does not end"},
           {"", "it does not write the question"}}) {
    const TemporaryFolder folder;
    write_file(folder / "chat_template.jinja", text);
    EXPECT_USER_ERROR(prompt_template(folder.path(), hf_spec()), why);
    EXPECT_USER_ERROR(prompt_template(folder.path(), hf_spec()), "this chat template cannot be used: ");
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

/// The demo's folder with another description of <image> in tokenizer.json.
void describe_image(const fs::path& folder, const Json& flags) {
  fs::copy(kDemo / "model", folder);
  Json json = read_json(folder / "tokenizer.json");
  for (Json& token : json["added_tokens"])
    if (token["content"] == "<image>") token.update(flags);
  write_json(folder / "tokenizer.json", json);
}

TEST(Processor, CountsThePlaceholdersThatTheTokenizerFinds) {
  const fs::path image = kDemo / "data/test/images/0000.png";
  const std::vector<int64_t> expected =
      Processor(open_model(kDemo / "model")).prepare("Is there a 6?", {image}, "q.jsonl:3").input_ids;
  const TemporaryFolder folder;
  // As ordinary words that stand as they are, placeholders are found all the same.
  describe_image(folder / "plain", {{"special", false}});
  EXPECT_EQ(Processor(open_model(folder / "plain")).prepare("Is there a 6?", {image}, "q").input_ids, expected);
  // In the normalised text only the first is one: in front of it stands a blank.
  describe_image(folder / "words", {{"special", false}, {"normalized", true}});
  const Processor words(open_model(folder / "words"));
  EXPECT_USER_ERROR(
      words.prepare("Is there a 6?", {image}, "q.jsonl:3"),
      "q.jsonl:3: " + (folder / "words/tokenizer.json").string() +
          ": <image> stands 81 times in the prompt, once a visual token, and is found as a token 1 times");
  EXPECT_USER_ERROR(words.prepare("Is there a 6?", {image}, "q"), "\"special\": true, \"normalized\": false");
  EXPECT_EQ(words.prepare("Is there a 6?", {}, "q").images, 0) << "text alone needs none";
  // No word character may touch it, and the next one's mark is none.
  describe_image(folder / "single", {{"single_word", true}});
  EXPECT_EQ(Processor(open_model(folder / "single")).prepare("Is there a 6?", {image}, "q").input_ids, expected);
}

TEST(Processor, AddsNoSecondBos) {
  const TemporaryFolder folder;
  fs::copy(kDemo / "model", folder / "model");
  write_file(folder / "model/chat_template.jinja", "{{ bos_token + 'USER: ' + messages[0].content + ' ASSISTANT:' }}");
  const Processor processor(open_model(folder / "model"));
  EXPECT_EQ(processor.prepare("Hello", {}, "q").input_ids,
            processor.tokenizer().encode("<s>USER: Hello ASSISTANT:", false));
}

TEST(ContextWatch, TellsOnce) {
  std::vector<std::string> told;
  set_progress_sink(
      ProgressSink{.note = {}, .warning = [&](const std::string& line) { told.push_back(line); }, .progress = {}});
  ModelSpec spec;
  spec.text.max_position_embeddings = 512;
  ContextWatch watch(spec);
  watch.look(500, 13, "a");  // the last token is never read
  EXPECT_TRUE(told.empty());
  watch.look(500, 14, "q.jsonl:3");
  watch.look(512, 128, "q.jsonl:4");
  set_progress_sink(std::nullopt);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("q.jsonl:3: a prompt of 500 tokens with an answer of up to 14; the model's context"),
            std::string::npos);
  EXPECT_NE(told[0].find("is 512"), std::string::npos);
}

}  // namespace
}  // namespace yopo
