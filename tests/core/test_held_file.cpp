#include "core/held_file.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include <gtest/gtest.h>

#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

TEST(HeldFile, AppendsToWhatIsThere) {
  const TemporaryFolder folder;
  write_file(folder / "a", "one ");
  const int descriptor = open_held(folder / "a", "busy");
  ASSERT_EQ(write(descriptor, "two", 3), 3);
  EXPECT_EQ(read_text(descriptor, folder / "a"), "one two");
  close(descriptor);
  EXPECT_EQ(read_file(folder / "a"), "one two");
}

TEST(HeldFile, IsForOneAtATime) {
  const TemporaryFolder folder;
  const int first = open_held(folder / "a", "somebody writes here");
  EXPECT_USER_ERROR(open_held(folder / "a", "somebody writes here"), "a: somebody writes here");
  close(first);
  close(open_held(folder / "a", ""));
}

// Each must be refused by name, and at once: a pipe without a reader blocks whoever opens it.
TEST(HeldFile, NothingButARegularFile) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  fs::create_directory(folder / "folder");
  write_file(folder / "outside", "theirs");
  fs::create_symlink(folder / "outside", folder / "link");
  fs::create_symlink(folder / "nothing", folder / "dangling");
  const int server = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{AF_UNIX, {}};
  std::strncpy(address.sun_path, (folder / "socket").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(bind(server, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_USER_ERROR(open_held(folder / "pipe", ""), "it is a pipe, expected a regular file");
  EXPECT_USER_ERROR(open_held(folder / "folder", ""), "it is a folder, expected a regular file");
  EXPECT_USER_ERROR(open_held(folder / "link", ""), "it is a symbolic link, expected a regular file");
  EXPECT_USER_ERROR(open_held(folder / "dangling", ""), "it is a symbolic link, expected a regular file");
  EXPECT_USER_ERROR(open_held(folder / "socket", ""), "it is a socket, expected a regular file");
  close(open_held(folder / "named", ""));
  fs::create_hard_link(folder / "named", folder / "again");
  EXPECT_USER_ERROR(open_held(folder / "again", ""), "again: the same file has 2 names");
  EXPECT_USER_ERROR(open_held(folder / "named", ""), "named: the same file has 2 names");
  fs::remove(folder / "again");
  close(open_held(folder / "named", ""));
  EXPECT_USER_ERROR(open_held("/dev/null", ""), "it is a device, expected a regular file");
  EXPECT_USER_ERROR(open_held(folder / "none/a", ""), "none/a");
  close(server);
  EXPECT_EQ(read_file(folder / "outside"), "theirs");
  EXPECT_FALSE(fs::exists(folder / "nothing"));
}

}  // namespace
}  // namespace yopo
