#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>

#include "core/error.h"
#include "core/json.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;
using testing::write_file;

const fs::path kData = fs::path(YOPO_TEST_DATA) / "tokenizer";
const fs::path kDemo = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid/model";

/// A merge patch as tests/python/make_tokenizer_cases.py applies it: null removes a key, but stands where a component
/// is optional; an object with a type replaces.
Json patched(Json target, const Json& patch) {
  if (!patch.is_object() || patch.contains("type")) return patch;
  if (!target.is_object()) target = Json::object();
  for (const auto& [key, value] : patch.items()) {
    const bool component = key == "normalizer" || key == "pre_tokenizer" || key == "post_processor" || key == "decoder";
    if (value.is_null() && !component) {
      target.erase(key);
    } else {
      target[key] = patched(target.contains(key) ? target[key] : Json(), value);
    }
  }
  return target;
}

/// The demo's tokenizer.json under a patch; "+added" appends added tokens, merges "strings" writes them as "a b".
Json demo_with(Json patch) {
  const Json demo = read_json(kDemo / "tokenizer.json");
  const Json added = patch.value("+added", Json::array());
  patch.erase("+added");
  if (patch.contains("model") && patch["model"].value("merges", Json()) == "strings") {
    Json merges = Json::array();
    for (const Json& pair : demo["model"]["merges"])
      merges.push_back(pair[0].get<std::string>() + " " + pair[1].get<std::string>());
    patch["model"]["merges"] = merges;
  }
  Json file = patched(demo, patch);
  for (const Json& token : added) file["added_tokens"].push_back(token);
  return file;
}

std::unique_ptr<Tokenizer> open_json(const Json& file) {
  const TemporaryFolder folder;
  write_file(folder / "tokenizer.json", file.dump());
  return open_tokenizer(folder.path());
}

std::unique_ptr<Tokenizer> open_model_file(const Json& files) {
  const TemporaryFolder folder;
  fs::copy_file(kData / "tokenizer.model", folder / "tokenizer.model");
  for (const auto& [name, content] : files.items()) write_file(folder / name, content.dump());
  return open_tokenizer(folder.path());
}

int check_cases(const Tokenizer& tokenizer, const std::string& name, const Json& cases) {
  int count = 0;
  for (const Json& one : cases) {
    const auto text = one["text"].get<std::string>();
    const std::string shown = name + ": " + one.dump();
    const auto given = one["given"].get<std::vector<int64_t>>();
    EXPECT_EQ(tokenizer.encode(text), one["ids"].get<std::vector<int64_t>>()) << shown;
    EXPECT_EQ(tokenizer.encode(text, false), one["plain"].get<std::vector<int64_t>>()) << shown;
    EXPECT_EQ(tokenizer.decode(given), one["decoded"].get<std::string>()) << shown;
    EXPECT_EQ(tokenizer.decode(given, false), one["decoded_all"].get<std::string>()) << shown;
    ++count;
  }
  return count;
}

TEST(BpeTokenizer, EqualsTheReferenceInEveryVariant) {
  int count = 0;
  const Json variants = read_json(kData / "bpe_cases.json");
  for (const auto& [name, variant] : variants.items())
    count += check_cases(*open_json(demo_with(variant["setup"])), name, variant["cases"]);
  EXPECT_GT(count, 400);
}

TEST(SentencePieceTokenizer, EqualsTheReferenceInEveryVariant) {
  int count = 0;
  const Json variants = read_json(kData / "sentencepiece_cases.json");
  for (const auto& [name, variant] : variants.items())
    count += check_cases(*open_model_file(variant["setup"]), name, variant["cases"]);
  EXPECT_GT(count, 250);
}

TEST(BpeTokenizer, TakesLongTextsInLinearithmicTime) {
  const auto tokenizer = open_tokenizer(kDemo);
  std::string text;
  while (text.size() < 4'000'000) text += "Is there a 6 in the image? \xF0\x9F\x98\x80";
  const auto start = std::chrono::steady_clock::now();
  const std::vector<int64_t> ids = tokenizer->encode(text);
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  EXPECT_LT(spent.count(), 60.0);  // a quadratic merge needs hours
  EXPECT_EQ(tokenizer->decode(ids), text);
}

TEST(BpeTokenizer, ReadsIllFormedTextAsReplacementCharacters) {
  const auto tokenizer = open_tokenizer(kDemo);
  for (const auto& [bad, good] :
       std::vector<std::pair<std::string, std::string>>{{"a\xFFz", "a\xEF\xBF\xBDz"},
                                                        {"\xE2\x96", "\xEF\xBF\xBD"},
                                                        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}})
    EXPECT_EQ(tokenizer->encode(bad), tokenizer->encode(good));
}

TEST(BpeTokenizer, KnowsItsTokens) {
  const auto tokenizer = open_tokenizer(kDemo);
  EXPECT_EQ(tokenizer->vocab_size(), 432);
  EXPECT_EQ(tokenizer->id_of("<image>"), 430);
  EXPECT_EQ(tokenizer->id_of("<0x0A>"), 13);
  EXPECT_EQ(tokenizer->id_of("<nothing>"), -1);
  // Ids of nothing are left out: embedding matrices have more rows than the tokenizer has tokens.
  EXPECT_EQ(tokenizer->decode({447, -1, int64_t(1) << 40}), "");
}

TEST(BpeTokenizer, TakesAddedTokensOfTheConfig) {
  const TemporaryFolder folder;
  Json file = read_json(kDemo / "tokenizer.json");
  Json& added = file["added_tokens"];
  added.erase(added.end() - 1);  // <pad>
  write_file(folder / "tokenizer.json", file.dump());
  EXPECT_EQ(open_tokenizer(folder.path())->id_of("<pad>"), -1);
  write_file(folder / "tokenizer_config.json",
             R"({"added_tokens_decoder": {"431": {"content": "<pad>", "special": true}}, "eos_token": "▁No"})");
  const auto tokenizer = open_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->encode("<pad>", false), std::vector<int64_t>{431});
  EXPECT_EQ(tokenizer->decode({431}), "");
  EXPECT_EQ(tokenizer->decode({421}), "");  // named special, though it is a token of the vocabulary
}

TEST(BpeTokenizer, RefusesWhatItDoesNotKnow) {
  const auto with = [](const char* key, const char* value) {
    Json file = read_json(kDemo / "tokenizer.json");
    file[key] = Json::parse(value);
    return file;
  };
  EXPECT_USER_ERROR(open_json(with("pre_tokenizer", R"({"type": "BertPreTokenizer"})")),
                    "pre_tokenizer: 'BertPreTokenizer'");
  EXPECT_USER_ERROR(open_json(with("normalizer", R"({"type": "NFKC"})")), "normalizer: 'NFKC'");
  const auto split = [&](const std::string& fields) {
    return with("pre_tokenizer",
                (R"({"type": "Sequence", "pretokenizers": [{"type": "Split", )" + fields + "}]}").c_str());
  };
  EXPECT_USER_ERROR(open_json(split(R"("behavior": "Removed", "pattern": {"Regex": "a"})")), "'Removed'");
  EXPECT_USER_ERROR(open_json(split(R"("behavior": "Isolated", "invert": true, "pattern": {"Regex": "a"})")), "invert");
  EXPECT_USER_ERROR(open_json(split(R"("behavior": "Isolated", "pattern": {"String": "a"})")), "'String'");
  EXPECT_USER_ERROR(open_json(split(R"("behavior": "Isolated", "pattern": {"Regex": "(a"})")), "does not compile");
  EXPECT_USER_ERROR(open_json(with("normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Strip"}]})")),
                    "'Strip'");
  EXPECT_USER_ERROR(open_json(with("normalizer", R"({"type": "Replace", "pattern": {"Regex": " +"}, "content": " "})")),
                    "'Regex'");
  EXPECT_USER_ERROR(open_json(with("decoder", R"({"type": "WordPiece"})")), "'WordPiece'");
  EXPECT_USER_ERROR(open_json(with("post_processor", R"({"type": "BertProcessing"})")), "'BertProcessing'");
  EXPECT_USER_ERROR(open_json(with("model", R"({"type": "Unigram", "vocab": []})")), "'Unigram'");
  EXPECT_USER_ERROR(
      open_json(with("pre_tokenizer", R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"})")),
      "prepend_scheme first");
}

TEST(BpeTokenizer, RefusesDamagedFiles) {
  const auto model = [](const char* key, const char* value) {
    Json file = read_json(kDemo / "tokenizer.json");
    file["model"][key] = Json::parse(value);
    return file;
  };
  EXPECT_USER_ERROR(open_json(model("dropout", "0.1")), "dropout");
  EXPECT_USER_ERROR(open_json(model("end_of_word_suffix", R"("</w>")")), "end_of_word_suffix");
  EXPECT_USER_ERROR(open_json(model("unk_token", R"("<none>")")), "'<none>'");
  EXPECT_USER_ERROR(open_json(model("vocab", R"({"a": 0, "b": 0})")), "same id 0");
  EXPECT_USER_ERROR(open_json(model("vocab", R"({"a": -1})")), "-1");
  EXPECT_USER_ERROR(open_json(model("vocab", R"({"a": 2147483648})")), "2147483648");
  EXPECT_USER_ERROR(open_json(model("vocab", R"({"a": "x"})")), "expected an id");
  EXPECT_USER_ERROR(open_json(model("vocab", "{}")), "empty");
  EXPECT_USER_ERROR(open_json(model("merges", R"([["▁", "q!"]])")), "merges[0]: 'q!'");
  EXPECT_USER_ERROR(open_json(model("merges", R"(["a b c"])")), "merges[0]");
  EXPECT_USER_ERROR(open_json(model("merges", R"([["a"]])")), "merges[0]");
  EXPECT_USER_ERROR(open_json(model("merges", "[7]")), "merges[0]");

  const auto added = [](const char* token) {
    Json file = read_json(kDemo / "tokenizer.json");
    file["added_tokens"].push_back(Json::parse(token));
    return file;
  };
  EXPECT_USER_ERROR(open_json(added(R"({"id": 3, "content": "<new>"})")), "next free one, 432");
  EXPECT_USER_ERROR(open_json(added(R"({"id": 432, "content": ""})")), "content");
  EXPECT_USER_ERROR(open_json(added(R"({"id": 430, "content": "<image>"})")), "'<image>'");
  EXPECT_USER_ERROR(open_json(added(R"({"id": 9, "content": "▁No"})")), "421");
  EXPECT_USER_ERROR(open_json(added(R"({"id": 432, "content": "<new>", "lstrip": 1})")), "lstrip");
  EXPECT_USER_ERROR(open_json(Json::array()), "expected an object");
}

TEST(BpeTokenizer, FollowsTheConfigOfALlamaTokenizer) {
  const TemporaryFolder folder;
  Json file = read_json(kDemo / "tokenizer.json");
  write_file(folder / "tokenizer.json", file.dump());
  const auto open = [&](const char* config) {
    write_file(folder / "tokenizer_config.json", config);
    return open_tokenizer(folder.path());
  };
  const std::vector<int64_t> plain = open("{}")->encode("a", false);
  const auto framed = [&](std::vector<int64_t> before, std::vector<int64_t> after) {
    before.insert(before.end(), plain.begin(), plain.end());
    before.insert(before.end(), after.begin(), after.end());
    return before;
  };
  EXPECT_EQ(open("{}")->encode("a"), framed({1}, {}));
  EXPECT_EQ(open(R"({"tokenizer_class": "LlamaTokenizer", "add_bos_token": false})")->encode("a"), plain);
  EXPECT_EQ(open(R"({"tokenizer_class": "LlamaTokenizerFast", "add_eos_token": true})")->encode("a"), framed({1}, {2}));
  EXPECT_EQ(open(R"({"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": false})")->encode("a"),
            framed({1}, {}));
  EXPECT_USER_ERROR(open(R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<none>"})"), "bos_token '<none>'");
  // Its flags come before tokenizer.json's, but a special token stays one.
  const auto changed =
      open(R"({"added_tokens_decoder": {"431": {"content": "<pad>", "rstrip": true, "normalized": false}}})");
  EXPECT_EQ(changed->encode("<pad>  <pad>", false), (std::vector<int64_t>{431, 431}));
  EXPECT_EQ(changed->decode({431}), "");
}

TEST(SentencePieceTokenizer, DecodesAsInternLm2Does) {
  const auto open = [](const char* name) {
    return open_model_file({{"tokenizer_config.json", {{"tokenizer_class", name}, {"legacy", false}}}});
  };
  const auto intern = open("InternLM2Tokenizer"), llama = open("LlamaTokenizer");
  // "legacy" is LlamaTokenizer's own: the text behind </s> begins with a mark here.
  const std::vector<int64_t> ids = intern->encode("the</s>the", false);
  ASSERT_EQ(ids.size(), 3u);
  EXPECT_EQ(ids[0], ids[2]);
  EXPECT_NE(ids, llama->encode("the</s>the", false));
  EXPECT_EQ(intern->decode(ids), "the the");
  EXPECT_EQ(intern->decode({1, ids[0], 2}, false), " <s> the</s>");
  EXPECT_EQ(intern->decode(intern->encode("is it , really ?")), "is it, really?");
  EXPECT_USER_ERROR(open("GemmaTokenizer"), "'GemmaTokenizer'");
}

TEST(SentencePieceTokenizer, RefusesDamagedFiles) {
  const TemporaryFolder folder;
  EXPECT_USER_ERROR(open_tokenizer(folder.path()), "tokenizer.json or tokenizer.model, or vocab.json");
  write_file(folder / "tokenizer.model", "");
  EXPECT_USER_ERROR(open_tokenizer(folder.path()), "empty");
  write_file(folder / "tokenizer.model", "no model at all");
  EXPECT_USER_ERROR(open_tokenizer(folder.path()), "not a sentencepiece model");
  const std::string whole = testing::read_file(kData / "tokenizer.model");
  for (size_t size : {size_t(1), size_t(100), whole.size() / 2, whole.size() - 1}) {
    write_file(folder / "tokenizer.model", whole.substr(0, size));
    EXPECT_USER_ERROR(open_tokenizer(folder.path()), "sentencepiece");
  }
}

TEST(SentencePieceTokenizer, RefusesAContradictoryConfig) {
  const auto config = [](const char* text) { return Json{{"tokenizer_config.json", Json::parse(text)}}; };
  EXPECT_USER_ERROR(open_model_file(config(R"({"legacy": "no"})")), "legacy");
  EXPECT_USER_ERROR(open_model_file(config(R"({"bos_token": 1})")), "bos_token");
  EXPECT_USER_ERROR(open_model_file(config(R"({"added_tokens_decoder": {"x": {"content": "a"}}})")), "'x'");
  EXPECT_USER_ERROR(
      open_model_file(config(R"({"added_tokens_decoder": {"1": {"content": "a"}, "01": {"content": "b"}}})")),
      "given twice");
  EXPECT_USER_ERROR(
      open_model_file(config(R"({"added_tokens_decoder": {"1": {"content": "a"}, "2": {"content": "a"}}})")), "'a'");
  EXPECT_USER_ERROR(open_model_file(config("[]")), "expected an object");
}

}  // namespace
}  // namespace yopo
