#include "images/image.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "formats/safetensors.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::close;
using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

const fs::path kImages = fs::path(YOPO_TEST_DATA) / "images";

class ReadImage : public ::testing::Test {
 protected:
  /// Reads `bytes` as an image file; the error's message, or "" if they are read.
  std::string refusal(const std::string& bytes) {
    // A new name each time: some file systems flush a file that is cut to nothing and written again.
    const fs::path file = folder_ / fmt::format("image{}", count_++);
    write_file(file, bytes);
    try {
      read_image(file, "questions.jsonl:7");
      return "";
    } catch (const UserError& error) {
      EXPECT_EQ(std::string(error.what()).find("questions.jsonl:7: " + file.string()), 0u) << error.what();
      return error.what();
    }
  }

 private:
  TemporaryFolder folder_;
  int count_ = 0;
};

TEST_F(ReadImage, EqualsPillowInEveryByte) {
  const SafetensorsFile expected = SafetensorsFile::open(kImages / "expected.safetensors");
  EXPECT_EQ(expected.tensors().size(), 44u);
  for (const auto& [name, view] : expected.tensors()) {
    const Image image = read_image(kImages / name, "test");
    EXPECT_EQ(image.height, view.shape.at(0)) << name;
    EXPECT_EQ(image.width, view.shape.at(1)) << name;
    const std::vector<uint8_t> rgb(view.data<uint8_t>(), view.data<uint8_t>() + view.bytes.size());
    EXPECT_TRUE(close(image.rgb, rgb, 0)) << name;
  }
}

/// Where the compressed pixels begin: what is cut or changed before it is a damaged header.
size_t pixels_of(const std::string& png) { return png.find("IDAT") + 4; }

TEST_F(ReadImage, RefusesTruncatedFiles) {
  for (const char* name : {"color2_depth8.png", "color3_depth4_interlaced.png", "subsampling2.jpg",
                           "subsampling0_progressive.jpg", "cmyk.jpg"}) {
    const std::string whole = read_file(kImages / name);
    ASSERT_EQ(refusal(whole), "");
    // PIL reads an image to its last row, so what only lacks the end mark is whole.
    const size_t enough = whole.starts_with("\x89PNG") ? whole.size() - 16 : whole.size() - 2;
    for (size_t size = 0; size < enough; size += 1 + size / 16)
      EXPECT_NE(refusal(whole.substr(0, size)), "") << name << " " << size;
  }
}

TEST_F(ReadImage, SurvivesEveryChangedByte) {
  // Damaged data may by chance be another valid image; what matters is an error or an image, never a crash.
  for (const char* name :
       {"color6_depth16_interlaced.png", "color3_depth2.png", "subsampling2_progressive.jpg", "grey.jpg"}) {
    const std::string whole = read_file(kImages / name);
    for (size_t i = 0; i < whole.size(); ++i) {
      std::string changed = whole;
      changed[i] = char(changed[i] ^ (1 << i % 8));
      refusal(changed);
    }
  }
}

TEST_F(ReadImage, RefusesDamagedPixels) {
  std::string png = read_file(kImages / "color2_depth8.png");
  png[pixels_of(png) + 20] ^= 1;
  EXPECT_NE(refusal(png), "");
  std::string jpeg = read_file(kImages / "subsampling0.jpg");
  jpeg.replace(jpeg.size() - 40, 30, 30, '\xAA');
  EXPECT_NE(refusal(jpeg).find("JPEG"), std::string::npos);
}

/// The CRC that libpng expects behind a chunk.
uint32_t crc32(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= uint8_t(c);
    for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}
std::string big_endian(uint32_t value) { return {char(value >> 24), char(value >> 16), char(value >> 8), char(value)}; }
std::string png_of_size(uint32_t width, uint32_t height) {
  std::string png = read_file(kImages / "color2_depth8.png");
  const std::string header = "IHDR" + big_endian(width) + big_endian(height) + std::string("\x08\x02\0\0\0", 5);
  return png.replace(12, 21, header + big_endian(crc32(header)));
}

TEST_F(ReadImage, RefusesBombsBeforeTheyGetMemory) {
  ASSERT_EQ(refusal(png_of_size(13, 9)), "");
  EXPECT_NE(refusal(png_of_size(100'000, 100'000)).find("100000 x 100000 pixels; expected at most 178956970"),
            std::string::npos);
  EXPECT_NE(refusal(png_of_size(0x7FFFFFFF, 0x7FFFFFFF)).find("expected at most 178956970"), std::string::npos);
  EXPECT_NE(refusal(png_of_size(13'000, 13'000)).find("cannot hold 13000 x 13000 pixels"), std::string::npos);
  EXPECT_NE(refusal(png_of_size(0, 9)), "");
  EXPECT_NE(refusal(png_of_size(0xFFFFFFFF, 9)), "");

  std::string jpeg = read_file(kImages / "subsampling0.jpg");
  const size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xFF\xDC\xFF\xDC");
  EXPECT_NE(refusal(jpeg).find("65500 x 65500 pixels"), std::string::npos);

  // A progressive file with the same first scan a thousand times.
  const std::string progressive = read_file(kImages / "subsampling0_progressive.jpg");
  const size_t first = progressive.find("\xFF\xDA"), second = progressive.find("\xFF\xC4", first);
  ASSERT_NE(second, std::string::npos);
  std::string scans = progressive.substr(0, second);
  for (int i = 0; i < 1000; ++i) scans += progressive.substr(first, second - first);
  EXPECT_NE(refusal(scans + progressive.substr(second)).find("more than 500 scans"), std::string::npos);
}

TEST_F(ReadImage, NamesWhatItFoundInstead) {
  EXPECT_NE(refusal("").find("found an empty file"), std::string::npos);
  EXPECT_NE(refusal("GIF89a").find("found GIF"), std::string::npos);
  EXPECT_NE(refusal("RIFF\1\1\1\1WEBPVP8 ").find("found WebP"), std::string::npos);
  EXPECT_NE(refusal("BM").find("found BMP"), std::string::npos);
  EXPECT_NE(refusal("<html>").find("expected a PNG or JPEG image, found something else"), std::string::npos);
  EXPECT_USER_ERROR(read_image(kImages / "absent.png", "q:1"), "q:1: ");
  EXPECT_USER_ERROR(read_image(kImages, "q:1"), "q:1: ");
}

}  // namespace
}  // namespace yopo
