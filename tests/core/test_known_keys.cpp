#include "core/known_keys.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/remarks.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

/// What is warned of while it lives.
class Warnings {
 public:
  Warnings() {
    set_progress_sink(ProgressSink{{}, [this](const std::string& line) { lines.push_back(line); }, {}});
  }
  ~Warnings() { set_progress_sink(std::nullopt); }
  std::vector<std::string> lines;
};

const KeyReader& reader() {
  static const KeyReader reader = {
      "a thing's file",
      joined({read_keys({"width", "height"}),
              idle_keys("for training", {"dropout"}),
              {told_key("beams", "[1]", "there are none"), refused_key("channels", "[3, null]", "images are RGB")}})};
  return reader;
}

TEST(KnownKeys, PassWhatSaysNothingNew) {
  const Warnings warnings;
  check_keys(Json{{"width", "any"}, {"dropout", 0.5}, {"beams", 1.0}, {"channels", 3}, {"unknown", nullptr}}, reader(),
             "passes.json");
  check_keys(Json(3), reader(), "passes.json");
  EXPECT_TRUE(warnings.lines.empty()) << warnings.lines[0];
}

TEST(KnownKeys, NameWhatHasNoEffect) {
  const Warnings warnings;
  check_keys(Json{{"widht", 1}, {"beams", 4}, {"elephant\x1b", 1}}, reader(), "names.json: part");
  ASSERT_EQ(warnings.lines.size(), 3u);
  EXPECT_EQ(warnings.lines[0],
            "names.json: part: key 'widht' is not known here and has no effect; did you mean 'width'?");
  EXPECT_EQ(warnings.lines[1], "names.json: part: beams 4 has no effect here: there are none");
  EXPECT_EQ(warnings.lines[2].find('\x1b'), std::string::npos);
  check_keys(Json{{"widht", 1}}, reader(), "names.json: part");
  EXPECT_EQ(warnings.lines.size(), 3u) << "the same thing is said once";
}

TEST(KnownKeys, RefuseOtherValues) {
  EXPECT_USER_ERROR(check_keys(Json{{"channels", 4}}, reader(), "refuses.json"),
                    "refuses.json: channels: expected 3 or null, found 4; images are RGB");
}

TEST(KnownKeys, AreErrorsWhereReadingIsStrict) {
  set_strict(true);
  EXPECT_USER_ERROR(check_keys(Json{{"depth", 4}}, reader(), "strict.json"), "strict.json: key 'depth' is not known");
  EXPECT_USER_ERROR(check_keys(Json{{"beams", 4}}, reader(), "strict.json"), "--strict");
  EXPECT_NO_THROW(check_keys(Json{{"dropout", 4}}, reader(), "strict.json"));
  set_strict(false);
}

TEST(KnownKeys, TheLastListDecides) {
  const KnownKeys both = joined({read_keys({"a", "b"}), idle_keys("why", {"b"})});
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[1].use, KeyUse::Idle);
}

TEST(KnownKeys, StandInATable) {
  const KeyReader second = {"another", joined({idle_keys("for training", {"dropout"}), read_keys({"width"})})};
  const std::string table = key_table({&reader(), &second});
  for (const char* line :
       {"**a thing's file**", "- read: `width`, `height`", "- changes nothing (for training): `dropout`",
        "- named in a warning if not 1 (there are none): `beams`",
        "- refused if not 3 or null (images are RGB): `channels`", "**another**\n\n- read: `width`\n"})
    EXPECT_NE(table.find(line), std::string::npos) << table;
}

}  // namespace
}  // namespace yopo
