#include "core/leftovers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include <gtest/gtest.h>

#include "core/file.h"
#include "core/progress.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;
using testing::write_file;

std::set<std::string> names(const fs::path& folder) {
  std::set<std::string> all;
  for (const auto& entry : fs::directory_iterator(folder)) all.insert(entry.path().filename().string());
  return all;
}

/// The notes that `work` gives.
std::vector<std::string> notes_of(const std::function<void()>& work) {
  std::vector<std::string> notes;
  const auto add = [&](const std::string& line) { notes.push_back(line); };
  set_progress_sink(ProgressSink{add, add, {}});
  work();
  set_progress_sink({});
  return notes;
}

TEST(Leftovers, OnlyWhatBelongsToTheName) {
  const TemporaryFolder folder;
  for (const char* name : {"out.tmp-7-0", "out.tmp-7-", "out.tmp-7", "out.tmp-x-0", "out.tmp-7-0.txt", "out.tmp--7-0",
                           "other.tmp-7-0", "out", "out.partial-7"})
    write_file(folder / name, "1234");
  write_file(folder / "out.partial-12/deep/x", std::string(2'000'000, 'x'));
  write_file(folder / "out.partial-12x/y", "");
  write_file(folder / "elsewhere/z", "");
  fs::create_directory_symlink(folder / "elsewhere", folder / "out.partial-13");
  fs::create_symlink(folder / "elsewhere/z", folder / "out.tmp-8-0");
  const std::vector<std::string> notes = notes_of([&] { remove_leftovers(folder / "out"); });
  // A file where a folder would be, and links, are not ours.
  EXPECT_EQ(names(folder.path()),
            (std::set<std::string>{"out.tmp-7-", "out.tmp-7", "out.tmp-x-0", "out.tmp-7-0.txt", "out.tmp--7-0",
                                   "other.tmp-7-0", "out", "out.partial-7", "out.partial-12x", "elsewhere",
                                   "out.partial-13", "out.tmp-8-0"}));
  EXPECT_TRUE(fs::exists(folder / "elsewhere/z"));
  ASSERT_EQ(notes.size(), 2u);
  const std::string both = notes[0] + notes[1];
  EXPECT_NE(both.find("out.tmp-7-0: left by a run that was killed; removed (0.0 MB)"), std::string::npos) << both;
  EXPECT_NE(both.find("out.partial-12: left by a run that was killed; removed (2.0 MB)"), std::string::npos) << both;
}

// A process number may be somebody else's by now: one that lives does not protect, and one that is dead does not harm.
TEST(Leftovers, TheHolderDecidesNotTheNumber) {
  const TemporaryFolder folder;
  const fs::path dead = (folder / "out.tmp-").string() + std::to_string(getpid()) + "-0";
  write_file(dead, "");
  fs::create_directory(folder / "out.partial-2147483646");
  const int held = open((folder / "out.partial-2147483646").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(hold(held, folder / "out.partial-2147483646"));
  notes_of([&] { remove_leftovers(folder / "out"); });
  EXPECT_EQ(names(folder.path()), std::set<std::string>{"out.partial-2147483646"});
  close(held);
  notes_of([&] { remove_leftovers(folder / "out"); });
  EXPECT_TRUE(names(folder.path()).empty());
}

TEST(Leftovers, OfAKilledWriter) {
  const TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    AtomicFile file(folder / "out");
    file.write("half");
    (void)!write(ready[1], "x", 1);
    pause();
    _exit(1);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  // While it lives another writer of the same name leaves it alone.
  remove_leftovers(folder / "out");
  EXPECT_EQ(names(folder.path()).size(), 1u);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(notes_of([&] { write_text(folder / "out", "whole"); }).size(), 1u);
  EXPECT_EQ(names(folder.path()), std::set<std::string>{"out"});
  close(ready[0]);
  close(ready[1]);
}

TEST(Leftovers, AFolderThatIsNotThereHasNone) {
  EXPECT_NO_THROW(remove_leftovers("/no/such/folder/out"));
  EXPECT_NO_THROW(remove_leftovers("out"));
}

}  // namespace
}  // namespace yopo
