#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(Fingerprint, KnownValue) {
  // XXH3's own test vector: 128 bits of nothing, seed 0.
  EXPECT_EQ(Fingerprint().hex(), "99aa06d3014798d86001c324468d497f");
}

TEST(Fingerprint, BytesChain) {
  const std::string long_text(1000, 'q');
  EXPECT_EQ(Fingerprint().add(bytes_of("ab")).add(bytes_of("c")).hex(), Fingerprint().add(bytes_of("abc")).hex());
  EXPECT_EQ(Fingerprint().add(bytes_of(long_text)).hex(),
            Fingerprint().add(bytes_of(long_text.substr(0, 300))).add(bytes_of(long_text.substr(300))).hex());
  Fingerprint fingerprint;
  fingerprint.add("a");
  const std::string once = fingerprint.hex();
  EXPECT_EQ(fingerprint.hex(), once) << "asking does not change it";
  EXPECT_NE(fingerprint.add("b").hex(), once);
}

TEST(Fingerprint, TextsKeepTheirBounds) {
  EXPECT_NE(Fingerprint().add("ab").add("c").hex(), Fingerprint().add("a").add("bc").hex());
  EXPECT_NE(Fingerprint().add("").hex(), Fingerprint().hex());
}

TEST(Fingerprint, Files) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "a", "content");
  testing::write_file(folder / "b", "content");
  testing::write_file(folder / "c", "contenT");
  testing::write_file(folder / "empty", "");
  const auto of = [&](const char* name) { return Fingerprint().add_file(folder / name).hex(); };
  EXPECT_EQ(of("a"), of("b"));
  EXPECT_NE(of("a"), of("c"));
  EXPECT_EQ(of("a"), Fingerprint().add("content").hex()) << "size, then bytes, as for text";
  EXPECT_EQ(of("empty"), Fingerprint().add("").hex());
  EXPECT_THROW(of("absent"), UserError);
}

}  // namespace
}  // namespace yopo
