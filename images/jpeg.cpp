#include <cstddef>
#include <cstdio>

// clang-format off
#include <jpeglib.h>
#include <jerror.h>  // after jpeglib.h, whose configuration decides which messages it declares
// clang-format on

#include <algorithm>
#include <csetjmp>

#include "core/error.h"
#include "images/codecs.h"
#include "images/exif.h"

namespace yopo {

namespace {

/// A progressive file may hold any number of scans, each over the whole image: more than this is an attack.
constexpr int kMostScans = 500;

/// As with PNG: libjpeg leaves through longjmp, so what owns memory lives outside the functions that call setjmp.
struct JpegReader {
  jpeg_decompress_struct state{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf leave;
  char message[JMSG_LENGTH_MAX] = "damaged";

  ~JpegReader() { jpeg_destroy_decompress(&state); }
};

JpegReader* reader_of(j_common_ptr state) { return static_cast<JpegReader*>(state->client_data); }

[[noreturn]] void on_error(j_common_ptr state) {
  JpegReader* reader = reader_of(state);
  (*state->err->format_message)(state, reader->message);
  std::longjmp(reader->leave, 1);
}

/// libjpeg fills the gaps of damaged data with grey and goes on; here that is an error. What leaves the pixels whole
/// (stray bytes between segments, odd headers) passes.
void on_message(j_common_ptr state, int level) {
  if (level >= 0) return;
  switch (state->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
      on_error(state);
    default:
      return;
  }
}
void on_output(j_common_ptr) {}

void on_progress(j_common_ptr state) {
  if (reinterpret_cast<j_decompress_ptr>(state)->input_scan_number <= kMostScans) return;
  std::snprintf(reader_of(state)->message, JMSG_LENGTH_MAX, "more than %d scans", kMostScans);
  std::longjmp(reader_of(state)->leave, 1);
}

bool read_header(JpegReader* reader, const unsigned char* data, size_t size) {
  if (setjmp(reader->leave)) return false;
  jpeg_create_decompress(&reader->state);
  reader->state.client_data = reader;
  reader->state.progress = &reader->progress;
  jpeg_mem_src(&reader->state, data, size);
  jpeg_read_header(&reader->state, TRUE);
  const int components = reader->state.num_components;
  reader->state.out_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  return true;
}

/// Reads rows until `row` has been filled for each, handing each to `take`.
bool read_rows(JpegReader* reader, uint8_t* rows, size_t row_bytes, bool advance,
               void (*take)(const uint8_t*, size_t, uint8_t*), uint8_t* out, size_t width) {
  if (setjmp(reader->leave)) return false;
  jpeg_start_decompress(&reader->state);
  while (reader->state.output_scanline < reader->state.output_height) {
    const size_t y = reader->state.output_scanline;
    JSAMPROW row = rows + (advance ? y * row_bytes : 0);
    jpeg_read_scanlines(&reader->state, &row, 1);
    if (take != nullptr) take(row, width, out + y * width * 3);
  }
  return true;
}

void take_grey(const uint8_t* row, size_t width, uint8_t* out) {
  for (size_t x = 0; x < width; ++x) out[3 * x] = out[3 * x + 1] = out[3 * x + 2] = row[x];
}

/// PIL takes every CMYK JPEG for Adobe's, which stores inverted values; a colour is then what its ink and black leave,
/// (255 - black) (255 - ink) / 255, where the division of what is subtracted rounds by two shifts.
void take_cmyk(const uint8_t* row, size_t width, uint8_t* out) {
  for (size_t x = 0; x < width; ++x) {
    const int light = row[4 * x + 3];  // 255 - black
    for (size_t c = 0; c < 3; ++c) {
      const int product = (255 - row[4 * x + c]) * light + 128;
      out[3 * x + c] = uint8_t(std::clamp(light - (((product >> 8) + product) >> 8), 0, 255));
    }
  }
}

}  // namespace

Image decode_jpeg(std::span<const std::byte> file, const std::string& place) {
  JpegReader reader;
  reader.state.err = jpeg_std_error(&reader.errors);
  reader.state.client_data = &reader;
  reader.errors.error_exit = on_error;
  reader.errors.emit_message = on_message;
  reader.errors.output_message = on_output;
  reader.progress.progress_monitor = on_progress;
  if (!read_header(&reader, reinterpret_cast<const unsigned char*>(file.data()), file.size()))
    fail("{}: JPEG: {}", place, reader.message);
  const int components = reader.state.num_components;
  require(components == 1 || components == 3 || components == 4, "{}: JPEG: expected 1, 3 or 4 components, found {}",
          place, components);
  const size_t width = reader.state.image_width;
  Image image = blank_image(int64_t(width), int64_t(reader.state.image_height), place);
  const size_t row_bytes = width * size_t(components);
  std::vector<uint8_t> row(components == 3 ? 0 : row_bytes);  // [width, components]
  const bool done = components == 3 ? read_rows(&reader, image.rgb.data(), row_bytes, true, nullptr, nullptr, width)
                                    : read_rows(&reader, row.data(), row_bytes, false,
                                                components == 1 ? take_grey : take_cmyk, image.rgb.data(), width);
  if (!done) fail("{}: JPEG: {}", place, reader.message);
  image.orientation = jpeg_orientation(file);
  return image;
}

}  // namespace yopo
