#include "images/image.h"

#include <string_view>

#include "core/error.h"
#include "core/system_error.h"
#include "formats/base64.h"
#include "images/codecs.h"

namespace yopo {

namespace {

using namespace std::string_view_literals;

/// Formats that turn up in data sets though we do not read them, for the message.
std::string_view kind_of(std::string_view head) {
  if (head.starts_with("GIF8")) return "GIF";
  if (head.starts_with("RIFF") && head.substr(0, 12).ends_with("WEBP")) return "WebP";
  if (head.starts_with("BM")) return "BMP";
  if (head.starts_with("II*\0"sv) || head.starts_with("MM\0*"sv)) return "TIFF";
  if (head.starts_with("\0\0\0\x0CJXL "sv) || head.starts_with("\xFF\x0A"sv)) return "JPEG XL";
  if (head.starts_with("\0\0\0\x0CjP  "sv)) return "JPEG 2000";
  if (head.size() >= 12 && head.substr(4, 4) == "ftyp") return "HEIF or AVIF";
  return head.empty() ? "an empty file" : "something else";
}

enum class Codec { Png, Jpeg };

/// What the first bytes say; UserError for anything we do not read.
Codec codec_of(std::string_view head, const std::string& place) {
  if (head.starts_with("\x89PNG\r\n\x1A\n")) return Codec::Png;
  if (head.starts_with("\xFF\xD8\xFF")) return Codec::Jpeg;
  fail("{}: expected a PNG or JPEG image, found {}", place, kind_of(head));
}

Image decode(std::span<const std::byte> bytes, const std::string& place) {
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 16));
  return codec_of(head, place) == Codec::Png ? decode_png(bytes, place) : decode_jpeg(bytes, place);
}

}  // namespace

Image blank_image(int64_t width, int64_t height, const std::string& place) {
  require(width > 0 && height > 0 && width <= kLargestImage / height, "{}: {} x {} pixels; expected 1 to {}", place,
          width, height, kLargestImage);
  Image image;
  image.width = width;
  image.height = height;
  image.rgb.resize(size_t(width) * size_t(height) * 3);
  return image;
}

Image read_image(const fs::path& path, const std::string& where) {
  const std::string place = where.empty() ? path.string() : where + ": " + path.string();
  std::shared_ptr<const MappedFile> file;
  try {
    file = MappedFile::open(path);
  } catch (const UserError& error) {
    if (where.empty()) throw;
    fail_as(error, fmt::format("{}: {}", where, error.what()));
  }
  return decode(file->bytes(), place);
}

Image read_image(const EncodedImage& image, const std::string& where) {
  const std::string place = fmt::format("{}: the image in {}", where, image.file->path().string());
  const std::vector<std::byte> bytes = decode_base64(image.text(), place);
  image.file->drop(image.offset, image.size);
  return decode(bytes, place);
}

void check_image(const EncodedImage& image, const std::string& place) {
  check_base64(image.text(), place);
  std::string first;  // whole groups of four, for the 16 bytes that tell the format
  for (const char c : image.text()) {
    if (c != '\n' && c != '\r') first += c;
    if (first.size() == 24) break;
  }
  const std::vector<std::byte> head = decode_base64(first, place);
  codec_of({reinterpret_cast<const char*>(head.data()), head.size()}, place);
}

}  // namespace yopo
