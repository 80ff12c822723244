#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "images/codecs.h"
#include "images/exif.h"

namespace yopo {

namespace {

/// libpng leaves through longjmp, which runs no destructors: everything that owns memory lives here, outside the
/// functions that call setjmp, and those keep nothing but this pointer.
struct PngReader {
  std::span<const std::byte> rest;
  png_structp png = nullptr;
  png_infop info = nullptr;
  char message[200] = "damaged";
  png_uint_32 width = 0, height = 0;
  int depth = 0, color = 0, passes = 1;
  uint8_t palette[256][3] = {};

  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
};

void on_error(png_structp png, png_const_charp message) {
  auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
  std::snprintf(reader->message, sizeof reader->message, "%s", message);
  png_longjmp(png, 1);
}
void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep out, size_t size) {
  auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
  if (size > reader->rest.size()) png_error(png, "the file is truncated");
  std::memcpy(out, reader->rest.data(), size);
  reader->rest = reader->rest.subspan(size);
}

/// Chunks that say nothing about the pixels' values: they are skipped unread, so a damaged colour profile harms nobody.
constexpr char kSkipped[] =
    "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0tIME\0tRNS\0zTXt";

bool read_header(PngReader* reader) {
  if (setjmp(png_jmpbuf(reader->png))) return false;
  png_set_read_fn(reader->png, reader, on_read);
  png_set_user_limits(reader->png, 0x7FFFFFFF, 0x7FFFFFFF);  // ours is on the product
  png_set_keep_unknown_chunks(reader->png, PNG_HANDLE_CHUNK_NEVER, reinterpret_cast<png_const_bytep>(kSkipped),
                              int(sizeof kSkipped / 5));
  png_read_info(reader->png, reader->info);
  png_get_IHDR(reader->png, reader->info, &reader->width, &reader->height, &reader->depth, &reader->color, nullptr,
               nullptr, nullptr);
  png_colorp palette = nullptr;
  int entries = 0;
  if (png_get_PLTE(reader->png, reader->info, &palette, &entries))
    for (int i = 0; i < entries && i < 256; ++i) {
      reader->palette[i][0] = palette[i].red;
      reader->palette[i][1] = palette[i].green;
      reader->palette[i][2] = palette[i].blue;
    }
  return true;
}

/// Chooses how rows come out. libpng allocates whole rows here, so the size must have been checked.
bool start_rows(PngReader* reader) {
  if (setjmp(png_jmpbuf(reader->png))) return false;
  if (reader->depth < 8) png_set_packing(reader->png);  // one index or grey level a byte
  if (reader->color & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(reader->png);
  // PIL keeps the high byte of 16-bit samples, but for grey without alpha, which it keeps whole.
  if (reader->color != PNG_COLOR_TYPE_GRAY) png_set_strip_16(reader->png);
  reader->passes = png_set_interlace_handling(reader->png);
  png_read_update_info(reader->png, reader->info);
  return true;
}

bool read_rows(PngReader* reader, uint8_t* pixels, size_t row_bytes) {
  if (setjmp(png_jmpbuf(reader->png))) return false;
  // An interlaced image comes in passes, each over the rows of the last.
  for (int pass = 0; pass < reader->passes; ++pass)
    for (png_uint_32 y = 0; y < reader->height; ++y) png_read_row(reader->png, pixels + y * row_bytes, nullptr);
  return true;
}

}  // namespace

Image decode_png(std::span<const std::byte> file, const std::string& place) {
  PngReader reader{.rest = file};
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  if (reader.png != nullptr) reader.info = png_create_info_struct(reader.png);
  if (reader.info == nullptr) throw std::bad_alloc();
  if (!read_header(&reader)) fail("{}: PNG: {}", place, reader.message);
  const int64_t width = reader.width, height = reader.height;
  require(width <= kLargestImage / height, "{}: {} x {} pixels; expected at most {}", place, width, height,
          kLargestImage);
  // Deflate makes at most 1032 bytes of one: a small file that claims a huge image is refused before it gets the
  // memory.
  const int64_t bits = reader.depth * int64_t(png_get_channels(reader.png, reader.info));
  require(width * bits / 8 * height / 1032 <= int64_t(file.size()), "{}: PNG: {} bytes cannot hold {} x {} pixels",
          place, file.size(), width, height);
  if (!start_rows(&reader)) fail("{}: PNG: {}", place, reader.message);

  const size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
  const bool whole = (reader.color & PNG_COLOR_MASK_COLOR) && reader.color != PNG_COLOR_TYPE_PALETTE;
  const bool wide = reader.color == PNG_COLOR_TYPE_GRAY && reader.depth == 16;
  ensure(row_bytes == size_t(width) * (whole ? 3 : wide ? 2 : 1), "unexpected PNG row size");
  Image image = blank_image(width, height, place);
  png_uint_32 exif_size = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(reader.png, reader.info, &exif_size, &exif) != 0)
    image.orientation = exif_orientation({reinterpret_cast<const std::byte*>(exif), exif_size});
  std::vector<uint8_t> raw(whole ? 0 : row_bytes * size_t(height));  // [height, width] or [height, width, 2]
  if (!read_rows(&reader, whole ? image.rgb.data() : raw.data(), row_bytes)) fail("{}: PNG: {}", place, reader.message);
  if (whole) return image;

  const int grey_step = reader.depth < 8 ? 255 / ((1 << reader.depth) - 1) : 1;
  for (size_t i = 0; i < size_t(width) * size_t(height); ++i) {
    uint8_t* pixel = &image.rgb[3 * i];
    if (reader.color == PNG_COLOR_TYPE_PALETTE) {
      std::copy_n(reader.palette[raw[i]], 3, pixel);  // an index past the palette is black, as PIL has it
    } else {
      // PIL clips 16-bit grey to 255 instead of scaling it.
      const int level = wide ? std::min(raw[2 * i] << 8 | raw[2 * i + 1], 255) : raw[i] * grey_step;
      pixel[0] = pixel[1] = pixel[2] = uint8_t(level);
    }
  }
  return image;
}

}  // namespace yopo
