// Damaged Exif blocks say nothing; good ones are held against PIL in tests/python/test_image_processors.py.
#include "images/exif.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace yopo {
namespace {

using namespace std::string_literals;

int of_block(std::string_view text) {
  return exif_orientation({reinterpret_cast<const std::byte*>(text.data()), text.size()});
}
int of_jpeg(std::string_view text) {
  return jpeg_orientation({reinterpret_cast<const std::byte*>(text.data()), text.size()});
}

/// One tag in a block of Intel's order.
std::string block(const std::string& tag, const std::string& type, const std::string& value) {
  return "II*\0\x08\0\0\0\x01\0"s + tag + type + "\x01\0\0\0"s + value + "\0\0"s + "\0\0\0\0"s;
}
const std::string kGood = block("\x12\x01"s, "\x03\0"s, "\x06\0"s);

TEST(Exif, ReadsTheTag) {
  EXPECT_EQ(of_block(kGood), 6);
  EXPECT_EQ(of_block("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0"s), 8);
  EXPECT_EQ(of_block(block("\x13\x01"s, "\x03\0"s, "\x06\0"s)), 1) << "another tag";
}

TEST(Exif, TakesDamageForNoBlock) {
  for (size_t size = 0; size < kGood.size() - 6; ++size) EXPECT_EQ(of_block(kGood.substr(0, size)), 1) << size;
  EXPECT_EQ(of_block(block("\x12\x01"s, "\x04\0"s, "\x06\0"s)), 1) << "another type";
  EXPECT_EQ(of_block(block("\x12\x01"s, "\x03\0"s, "\x09\0"s)), 1) << "out of range";
  std::string far = kGood;
  far.replace(4, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(of_block(far), 1);
  std::string many = kGood;
  many.replace(8, 2, "\xff\xff");
  EXPECT_EQ(of_block(many), 6) << "the first entry is whole";
}

TEST(Exif, FindsTheBlockOfAJpeg) {
  const auto segment = [](const std::string& mark, const std::string& body) {
    const size_t length = body.size() + 2;
    return "\xff"s + mark + char(length >> 8) + char(length & 255) + body;
  };
  const std::string start = "\xff\xd8", exif = segment("\xe1", "Exif\0\0"s + kGood);
  EXPECT_EQ(of_jpeg(start + exif), 6);
  EXPECT_EQ(of_jpeg(start + segment("\xe0", "JFIF\0"s) + "\xff"s + exif), 6) << "fill bytes between segments";
  EXPECT_EQ(of_jpeg(start + segment("\xe1", "http://ns.adobe.com/"s) + exif), 6) << "APP1 of another kind";
  EXPECT_EQ(of_jpeg(start + segment("\xda", ""s) + exif), 1) << "behind the picture's start";
  for (size_t size = 0; size < start.size() + exif.size(); ++size)
    EXPECT_EQ(of_jpeg((start + exif).substr(0, size)), 1);
}

TEST(Exif, TurnsPixels) {
  // Two columns, one row: a, b.
  Image image{2, 1, {1, 1, 1, 2, 2, 2}};
  image.orientation = 6;  // the camera was held so that the top is on the right
  const Image turned = upright(image);
  EXPECT_EQ(turned.width, 1);
  EXPECT_EQ(turned.height, 2);
  EXPECT_EQ(turned.orientation, 1);
  EXPECT_EQ(turned.rgb, (std::vector<uint8_t>{1, 1, 1, 2, 2, 2}));
  image.orientation = 8;
  EXPECT_EQ(upright(image).rgb, (std::vector<uint8_t>{2, 2, 2, 1, 1, 1}));
}

}  // namespace
}  // namespace yopo
