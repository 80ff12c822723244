// Parts of an answer as they come, against the text of all its tokens.
#include "text/text_stream.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "core/utf8.h"
#include "tests/support/temporary.h"
#include "text/unicode.h"

namespace yopo {
namespace {

const fs::path kDemo = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid/model";
const fs::path kModelFile = fs::path(YOPO_TEST_DATA) / "tokenizer/tokenizer.model";

/// A tokenizer whose tokens are the bytes 0 to 255, and which cleans up as transformers' older ones do.
class Bytes : public Tokenizer {
 public:
  std::vector<int64_t> encode(std::string_view text, bool) const override {
    std::vector<int64_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(const std::vector<int64_t>& ids, bool) const override {
    std::string text;
    for (const int64_t id : ids) text += char(id);
    return replace_all(replace_all(repair_utf8(text), " n't", "n't"), " .", ".");
  }
  int64_t vocab_size() const override { return 256; }
  int64_t id_of(std::string_view token) const override {
    return token.size() == 1 ? static_cast<unsigned char>(token[0]) : -1;
  }
};

struct Streamed {
  std::string text;
  size_t parts = 0;  // not empty, before the end
};

Streamed stream(const Tokenizer& tokenizer, const std::vector<int64_t>& ids) {
  TextStream stream(tokenizer);
  Streamed streamed;
  for (const int64_t id : ids) {
    const std::string part = stream.add(id);
    EXPECT_TRUE(is_utf8(part)) << part;
    streamed.text += part;
    streamed.parts += !part.empty();
  }
  streamed.text += stream.finish();
  return streamed;
}

TEST(TextStream, PartsAreTheWholeText) {
  const testing::TemporaryFolder folder;
  fs::copy_file(kModelFile, folder / "tokenizer.model");
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  tokenizers.push_back(std::make_unique<Bytes>());
  tokenizers.push_back(open_tokenizer(kDemo));
  tokenizers.push_back(open_tokenizer(folder.path()));
  const std::string text =
      "  There is a 6 , and it is n't red . \xe2\x82\xac 5 \xf0\x9f\x8d\x8e\xf0\x9f\x8d\x8e a\n\n b  ";
  std::string all;
  for (int i = 0; i < 20; ++i) all += text + std::to_string(i);
  for (size_t at = 0; at < tokenizers.size(); ++at) {
    const Tokenizer& tokenizer = *tokenizers[at];
    for (const std::string& input : {text, all, std::string("No"), std::string(" "), std::string()}) {
      const std::vector<int64_t> ids = tokenizer.encode(input, false);
      const Streamed streamed = stream(tokenizer, ids);
      EXPECT_EQ(streamed.text, strip(tokenizer.decode(ids, true))) << at;
      if (input == all) {
        EXPECT_GT(streamed.parts, ids.size() / 4) << "it comes token by token";
      }
    }
  }
}

/// The ids of <0x00> to <0xFF>.
std::set<int64_t> byte_tokens(const Tokenizer& tokenizer) {
  std::set<int64_t> ids;
  for (int byte = 0; byte < 256; ++byte) ids.insert(tokenizer.id_of(fmt::format("<0x{:02X}>", byte)));
  return ids;
}

TEST(TextStream, TokensAtRandom) {
  std::mt19937 random(4);
  const testing::TemporaryFolder folder;
  fs::copy_file(kModelFile, folder / "tokenizer.model");
  for (const fs::path& from : {kDemo, folder.path()}) {
    const auto tokenizer = open_tokenizer(from);
    const std::set<int64_t> bytes = byte_tokens(*tokenizer);
    for (int round = 0; round < 40; ++round) {
      std::vector<int64_t> ids(1 + random() % 200);
      for (int64_t& id : ids) do
          id = int64_t(random() % uint64_t(tokenizer->vocab_size()));
        while (bytes.contains(id));
      EXPECT_EQ(stream(*tokenizer, ids).text, strip(tokenizer->decode(ids, true))) << from << " " << round;
    }
  }
}

// A is certain until a byte comes that no character has after it; the stream goes on with what follows.
TEST(TextStream, AnIllFormedRunDoesNotEndIt) {
  const auto tokenizer = open_tokenizer(kDemo);
  std::vector<int64_t> ids = {tokenizer->id_of("<0x41>"), tokenizer->id_of("<0xFF>")};
  ASSERT_TRUE(ids[0] >= 0 && ids[1] >= 0);
  for (int i = 0; i < 100; ++i)
    for (const int64_t id : tokenizer->encode("red and green", false)) ids.push_back(id);
  const std::string whole(strip(tokenizer->decode(ids, true))), bad = "\xef\xbf\xbd";
  ASSERT_TRUE(whole.starts_with(bad + bad)) << whole;
  EXPECT_EQ(stream(*tokenizer, ids).text, "A" + whole.substr(bad.size()));
}

TEST(TextStream, HalfACharacterWaits) {
  const Bytes tokenizer;
  TextStream stream(tokenizer);
  EXPECT_EQ(stream.add(' '), "");
  EXPECT_EQ(stream.add('a'), "");  // a blank and what follows it may still be joined
  EXPECT_EQ(stream.add(0xe2), "");
  EXPECT_EQ(stream.add(0x82), "");
  EXPECT_EQ(stream.add(0xac), "a\xe2\x82\xac");
  EXPECT_EQ(stream.add(0xe2), "");
  EXPECT_EQ(stream.finish(), "\xef\xbf\xbd") << "what never became a character";
}

TEST(StopTexts, NothingOfAStopTextIsShown) {
  StopTexts stop({"", "STOP", "TOOL"});
  EXPECT_EQ(stop.add("a S"), "a ");
  EXPECT_EQ(stop.add("TO"), "");
  EXPECT_EQ(stop.add("O"), "S") << "STOO begins no stop text, TOO does";
  EXPECT_FALSE(stop.found());
  EXPECT_EQ(stop.add("K. ST"), "TOOK. ");
  EXPECT_EQ(stop.add("OP and more"), "");
  EXPECT_TRUE(stop.found());
  EXPECT_EQ(stop.add("more"), "");
  EXPECT_EQ(stop.finish(), "");

  StopTexts other({"END", "EN"});
  EXPECT_EQ(other.add("x ENDE"), "x ");
  EXPECT_TRUE(other.found());

  StopTexts never({"zz"});
  EXPECT_EQ(never.add("z"), "");
  EXPECT_EQ(never.finish(), "z");
  EXPECT_EQ(StopTexts({}).add("all"), "all");
}

}  // namespace
}  // namespace yopo
