#include "core/file.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/lfs.h"
#include "core/system_error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

size_t entries(const fs::path& folder) { return size_t(std::distance(fs::directory_iterator(folder), {})); }

/// Lets no file of this process grow past `bytes` while it lives: a full disk for tests.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_;
  void (*handler_)(int);
};

TEST(MappedFile, MapsAndOutlivesItsName) {
  const TemporaryFolder folder;
  write_file(folder / "a", "hello");
  const auto file = MappedFile::open(folder / "a");
  fs::remove(folder / "a");
  ASSERT_EQ(file->bytes().size(), 5u);
  EXPECT_EQ(char(file->bytes()[4]), 'o');
  file->drop(0, 5);
  file->drop(3, SIZE_MAX);
  file->drop(99, 1);
  EXPECT_EQ(char(file->bytes()[0]), 'h') << "dropped pages come back";
}

TEST(MappedFile, EmptyAndBad) {
  const TemporaryFolder folder;
  write_file(folder / "empty", "");
  EXPECT_TRUE(MappedFile::open(folder / "empty")->bytes().empty());
  EXPECT_USER_ERROR(MappedFile::open(folder / "absent"), (folder / "absent").string());
  EXPECT_USER_ERROR(MappedFile::open(folder.path()), "it is a folder");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_USER_ERROR(MappedFile::open(folder / "pipe"),
                    "it is a pipe, expected a regular file");  // and does not wait for a writer
}

TEST(MappedFile, CopyIsAligned) {
  const std::string text = "xabcdefgh";
  const auto bytes = std::as_bytes(std::span(text.data() + 1, 8));
  const auto file = MappedFile::copy_of(bytes, "name");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file->bytes().data()) % 64, 0u);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), file->bytes().begin(), file->bytes().end()));
  file->drop(0, 8);
  EXPECT_EQ(char(file->bytes()[0]), 'a') << "memory of our own is not dropped";
  EXPECT_EQ(file->path(), "name");
}

// A file that is there and cannot be opened is the system's fault: nobody may go on without it.
TEST(MappedFile, TellsWhatTheSystemRefusesFromWhatIsNotThere) {
  const TemporaryFolder folder;
  write_file(folder / "a", "hello");
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const auto open = [&] { MappedFile::open(folder / "a"); };
  EXPECT_THROW(open(), SystemError);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_NO_THROW(open());
  try {
    MappedFile::open(folder / "b");
    FAIL() << "there is no such file";
  } catch (const SystemError&) {
    FAIL() << "a file that is not there is the user's to give";
  } catch (const UserError&) {
  }
}

TEST(FileReader, ReadsWhatIsMapped) {
  const TemporaryFolder folder;
  write_file(folder / "a", "hello");
  const auto file = MappedFile::open(folder / "a");
  std::string text(3, ' ');
  FileReader(file).read(1, 3, text.data());
  EXPECT_EQ(text, "ell");
  FileReader(file).read(5, 0, nullptr);
  EXPECT_THROW(FileReader(file).read(3, 3, text.data()), InternalError);
  const auto bytes = std::as_bytes(std::span("world", 5));
  FileReader(MappedFile::copy_of(bytes, "nowhere")).read(2, 3, text.data());
  EXPECT_EQ(text, "rld");
  write_file(folder / "empty", "");
  FileReader(MappedFile::open(folder / "empty")).read(0, 0, nullptr);
}

TEST(FileReader, NamesAFileThatHasChanged) {
  const TemporaryFolder folder;
  write_file(folder / "a", "hello");
  const auto file = MappedFile::open(folder / "a");
  const FileReader reader(file);
  fs::resize_file(folder / "a", 3);
  std::string text(4, ' ');
  EXPECT_USER_ERROR(reader.read(1, 4, text.data()), (folder / "a").string() + ": ends at byte 3");
  EXPECT_USER_ERROR(FileReader{file}, "has changed while it was read");
  fs::rename(folder / "a", folder / "b");
  write_file(folder / "a", "other");
  EXPECT_USER_ERROR(FileReader{file}, "has changed while it was read");
  fs::remove(folder / "a");
  EXPECT_USER_ERROR(FileReader{file}, "cannot open");
}

TEST(ReadText, LimitsAndErrors) {
  const TemporaryFolder folder;
  write_file(folder / "a", std::string("a\0b", 3));
  EXPECT_EQ(read_text(folder / "a"), std::string("a\0b", 3));
  EXPECT_USER_ERROR(read_text(folder / "a", 2), "has 3 bytes; expected at most 2");
  EXPECT_USER_ERROR(read_text(folder / "none"), "none");
}

TEST(ReadText, KnowsAGitLfsPointer) {
  const TemporaryFolder folder;
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, 'a') + "\nsize 4976698672\n";
  const fs::path path = folder / "model.safetensors";
  write_file(path, pointer);
  EXPECT_USER_ERROR(MappedFile::open(path), "cannot read " + path.string() + ": it is a Git LFS pointer");
  EXPECT_USER_ERROR(read_text(path), "`git lfs pull`");
  EXPECT_TRUE(is_lfs_pointer(path));
  // A file that tells of them is none.
  write_file(path, "# version https://git-lfs.github.com/spec/v1\n");
  EXPECT_EQ(read_text(path).size(), 45u);
  write_file(path, pointer + std::string(1024, 'x'));
  EXPECT_EQ(read_text(path).size(), pointer.size() + 1024);
  EXPECT_FALSE(is_lfs_pointer(path));
  EXPECT_FALSE(is_lfs_pointer(folder.path()));
  EXPECT_FALSE(is_lfs_pointer(folder / "absent"));
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const TemporaryFolder folder;
  const fs::path path = folder / "new/sub/out.txt";
  {
    AtomicFile file(path);
    file.write("one");
    EXPECT_EQ(file.size(), 3u);
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(file.temporary().parent_path(), path.parent_path()) << "beside its target, so that rename is atomic";
    file.commit();
  }
  EXPECT_EQ(read_file(path), "one");
  {
    AtomicFile file(path);
    file.write("two");
  }
  EXPECT_EQ(read_file(path), "one") << "an uncommitted file leaves the old one";
  write_text(path, "three");
  EXPECT_EQ(read_file(path), "three");
  EXPECT_EQ(entries(path.parent_path()), 1u) << "no temporary is left";
}

// Sizes around the blocks that go past the page cache, in steps of every kind.
TEST(AtomicFile, PastThePageCacheTheSameBytes) {
  const TemporaryFolder folder;
  constexpr size_t block = size_t(4) << 20;
  for (const size_t size :
       {size_t(0), size_t(1), block - 1, block, block + 4095, block + 4096, 2 * block, 2 * block + 77}) {
    SCOPED_TRACE(size);
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = char(i * 7 + i / 251);
    AtomicFile file(folder / "x");
    file.bypass_cache();
    for (size_t at = 0, step = 1; at < size; at += step, step = step * 3 + 1) {
      file.write(std::string_view(text).substr(at, step));
      EXPECT_EQ(file.size(), std::min(size, at + step));
    }
    file.commit();
    EXPECT_EQ(file.size(), size);
    EXPECT_TRUE(read_file(folder / "x") == text);
  }
  AtomicFile late(folder / "y");
  late.write("a");
  EXPECT_THROW(late.bypass_cache(), InternalError);
}

TEST(AtomicFile, TwoWritersOfOneName) {
  const TemporaryFolder folder;
  AtomicFile a(folder / "x"), b(folder / "x");
  EXPECT_NE(a.temporary(), b.temporary());
  a.write("a");
  b.write("b");
  b.commit();
  a.commit();
  EXPECT_EQ(read_file(folder / "x"), "a");
}

TEST(AtomicFile, ReleasedForAnotherWriter) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "x");
  file.release();
  write_file(file.temporary(), "by another");
  file.commit();
  EXPECT_EQ(read_file(folder / "x"), "by another");
}

TEST(AtomicFile, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "d");
  EXPECT_USER_ERROR(AtomicFile(folder / "d"), "it is a folder");
  EXPECT_USER_ERROR(AtomicFile("/dev/null"), "it is a device, expected a regular file");
  EXPECT_USER_ERROR(AtomicFile(""), "names no file");
  write_file(folder / "f", "");
  EXPECT_USER_ERROR(AtomicFile(folder / "f/x"), "cannot make folder");
}

TEST(AtomicFile, ReplacesALinkNotItsTarget) {
  const TemporaryFolder folder;
  write_file(folder / "shared", "old");
  fs::create_symlink(folder / "shared", folder / "link");
  write_text(folder / "link", "new");
  EXPECT_EQ(read_file(folder / "shared"), "old");
  EXPECT_EQ(read_file(folder / "link"), "new");
  EXPECT_FALSE(fs::is_symlink(folder / "link"));
}

TEST(AtomicFile, FullDiskNamesFileAndBytes) {
  const TemporaryFolder folder;
  const std::string data(10'000, 'x');
  {
    const FileSizeLimit limit(4'000);
    EXPECT_USER_ERROR(write_text(folder / "big.bin", data), "big.bin");
    EXPECT_USER_ERROR(write_text(folder / "big.bin", data), "6000 more bytes needed after 4000 written");
  }
  {
    constexpr size_t block = size_t(4) << 20;
    const FileSizeLimit limit(block + block / 2 + 100);
    AtomicFile file(folder / "direct.bin");
    file.bypass_cache();
    file.write(std::string(block, 'x'));
    EXPECT_USER_ERROR(file.write(std::string(block, 'y')), fmt::format("after {} written", block + block / 2 + 100));
  }
  {
    AtomicFile file(folder / "huge.bin");
    EXPECT_USER_ERROR(file.reserve(uint64_t(1) << 62), "4611686018427387904 more bytes needed after 0 written");
    EXPECT_USER_ERROR(file.reserve(UINT64_MAX), "huge.bin");
  }
  EXPECT_EQ(entries(folder.path()), 0u) << "nothing is left of a failed write";
}

TEST(AtomicFile, ReserveKeepsTheSize) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "x");
  file.reserve(100'000);
  file.write("abc");
  file.commit();
  EXPECT_EQ(fs::file_size(folder / "x"), 3u);
}

TEST(Inside, KeepsNamesInTheirFolder) {
  EXPECT_EQ(inside("f", "a/b.png", "w"), fs::path("f/a/b.png"));
  EXPECT_EQ(inside("f", "./a/../b", "w"), fs::path("f/b"));
  for (const char* bad : {"..", "../x", "a/../../x", "a/../..", "./../x"})
    EXPECT_USER_ERROR(inside("f", bad, "q.jsonl:3"), "leaves its folder");
  EXPECT_USER_ERROR(inside("f", "/etc/passwd", "q.jsonl:3"), "q.jsonl:3: '/etc/passwd' is an absolute path");
  EXPECT_USER_ERROR(inside("f", "//x", "w"), "absolute");
  EXPECT_USER_ERROR(inside("f", "", "w"), "empty");
  EXPECT_USER_ERROR(inside("f", ".", "w"), "names no file");
  EXPECT_USER_ERROR(inside("f", std::string_view("a\0b", 3), "w"), "zero byte");
  EXPECT_EQ(inside("f", "..a", "w"), fs::path("f/..a"));
}

}  // namespace
}  // namespace yopo
