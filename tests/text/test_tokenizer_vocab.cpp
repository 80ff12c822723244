#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "tests/support/temporary.h"
#include "text/tokenizer.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;
using testing::write_file;

/// Qwen2's form without tokenizer.json: the bytes of "ab1 Ä", "ab", and two added tokens.
Json vocab_files() {
  return {
      {"vocab.json", R"({"a": 0, "b": 1, "Ã": 2, "Ħ": 3, "ab": 4, "Ġ": 5, "1": 6})"},
      {"merges.txt", "#version: 0.2\na b\n\n"},
      {"tokenizer_config.json",
       R"({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": {"7": {"content": "<|endoftext|>", "special": true},
               "8": {"content": "<|im_end|>", "special": true}}})"}};
}

std::unique_ptr<Tokenizer> open_vocab(const char* name, const Json& content) {
  const TemporaryFolder folder;
  Json files = vocab_files();
  if (name != nullptr) files[name] = content;
  for (const auto& [file, text] : files.items())
    if (!text.is_null()) write_file(folder / file, text.get<std::string>());
  return open_tokenizer(folder.path());
}

TEST(VocabTokenizer, ReadsQwen2WithoutItsTokenizerJson) {
  const auto tokenizer = open_vocab(nullptr, {});
  EXPECT_EQ(tokenizer->encode("abab ab11<|im_end|>a\xCC\x88"
                              "A\xCC\x88"),
            (std::vector<int64_t>{4, 4, 5, 4, 6, 6, 8, 2, 2, 3}));
  EXPECT_EQ(tokenizer->decode({4, 5, 2, 3, 8}), "ab \xC3\x84");
  EXPECT_EQ(tokenizer->decode({4, 2, 8}, false), "ab\xEF\xBF\xBD<|im_end|>");
  EXPECT_EQ(tokenizer->id_of("<|endoftext|>"), 7);
  EXPECT_EQ(tokenizer->vocab_size(), 9);
}

TEST(VocabTokenizer, RefusesDamagedFiles) {
  EXPECT_USER_ERROR(open_vocab("merges.txt", {}), "vocab.json without merges.txt");
  EXPECT_USER_ERROR(open_vocab("vocab.json", {}), "merges.txt without vocab.json");
  EXPECT_USER_ERROR(open_vocab("merges.txt", "#version: 0.2\na b\na q\n"),
                    "merges.txt:3: 'q' is not in the vocabulary");
  EXPECT_USER_ERROR(open_vocab("merges.txt", "b a\n"), "merges.txt:1: 'ba' is not in the vocabulary");
  EXPECT_USER_ERROR(open_vocab("merges.txt", "a b\na b\n"), "merges.txt:2: 'a b' is given twice");
  EXPECT_USER_ERROR(open_vocab("merges.txt", "ab\n"), "merges.txt:1: expected two tokens");
  EXPECT_USER_ERROR(open_vocab("merges.txt", "a b c\n"), "merges.txt:1: expected two tokens");
  EXPECT_USER_ERROR(open_vocab("merges.txt", "a \xFF\n"), "not UTF-8");
  EXPECT_USER_ERROR(open_vocab("vocab.json", R"({"a": 0, "b": 0})"), "same id 0");
  EXPECT_USER_ERROR(open_vocab("vocab.json", R"(["a"])"), "expected an object");
  EXPECT_USER_ERROR(open_vocab("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})"), "'GPT2Tokenizer'");
  EXPECT_USER_ERROR(
      open_vocab("tokenizer_config.json", R"({"added_tokens_decoder": {"9": {"content": "<|im_end|>"}}})"),
      "next free one, 7");
}

}  // namespace
}  // namespace yopo
