#include "search/journal.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;

TEST(SearchJournal, KeepsWhatWasMeasured) {
  const TemporaryFolder folder;
  const fs::path file = folder / "search.jsonl";
  const Verdict verdict{0.1 + 0.2, 1.0 / 3, 0.75};
  {
    SearchJournal journal(file, "a");
    EXPECT_EQ(journal.find("x"), nullptr);
    journal.add("x", verdict);
    EXPECT_THROW(SearchJournal(file, "a"), UserError) << "held by another";
  }
  {
    const SearchJournal journal(file, "a");
    ASSERT_NE(journal.find("x"), nullptr);
    EXPECT_EQ(journal.find("x")->loss, verdict.loss);
    EXPECT_EQ(journal.find("x")->kl, verdict.kl);
    EXPECT_EQ(journal.find("x")->same, verdict.same);
  }
  EXPECT_EQ(SearchJournal(file, "b").size(), 0u) << "of other inputs: anew";
  EXPECT_EQ(SearchJournal(file, "a").size(), 0u);
}

TEST(SearchJournal, ALineThatAKillCutShortIsDropped) {
  const TemporaryFolder folder;
  const fs::path file = folder / "search.jsonl";
  {
    SearchJournal journal(file, "a");
    journal.add("x", {1, 2, 3});
    journal.add("y", {1, 2, 3});
  }
  std::string text = read_text(file);
  write_text(file, text.substr(0, text.size() - 5));
  {
    SearchJournal journal(file, "a");
    EXPECT_EQ(journal.size(), 1u);
    journal.add("z", {4, 5, 6});
  }
  EXPECT_EQ(SearchJournal(file, "a").size(), 2u);
}

TEST(SearchJournal, OneThatHasBegunIsNeverBegunAnew) {
  const TemporaryFolder folder;
  const fs::path file = folder / "search.jsonl";
  EXPECT_THROW(SearchJournal(file, "a", true), UserError);
  EXPECT_FALSE(fs::exists(file));
  write_text(file, "");
  EXPECT_THROW(SearchJournal(file, "a", true), UserError);
  { SearchJournal(file, "a").add("x", {1, 2, 3}); }
  EXPECT_THROW(SearchJournal(file, "b", true), UserError) << "of other inputs";
  EXPECT_EQ(SearchJournal(file, "a", true).size(), 1u) << "and was left alone";
}

TEST(SearchJournal, DamageIsNamed) {
  const TemporaryFolder folder;
  const fs::path file = folder / "search.jsonl";
  for (const char* line :
       {"{\"search\": \"a\"}\nnonsense\n", "{\"search\": \"a\"}\n{\"key\": \"x\", \"loss\": \"1\"}\n", "[]\n"}) {
    write_text(file, line);
    EXPECT_THROW(SearchJournal(file, "a"), UserError) << line;
  }
}

}  // namespace
}  // namespace yopo
